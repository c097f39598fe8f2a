// SPDX-License-Identifier: MIT
#include "os/memory.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "os/machine.h"
#include "smaps.h"

namespace spillway {
namespace {

uint64_t address_of(const std::byte* pointer) { return reinterpret_cast<uint64_t>(pointer); }

// The line of /proc/self/maps that holds `address`.
std::string mapping_at(const std::byte* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uint64_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) == 2 && begin <= address_of(address) &&
        address_of(address) < end)
      return line;
  }
  return "";
}

TEST(Region, StartsWhereItsPagesStayHuge) {
  for (const uint64_t modulo : {uint64_t{0}, kPageBytes, kHugePageBytes - kPageBytes, uint64_t{0x7f12'3456'7000}}) {
    const Region region = Region::allocate(5 * MiB + kPageBytes, modulo).value();
    EXPECT_EQ(address_of(region.data()) % kHugePageBytes, modulo % kHugePageBytes);
    EXPECT_EQ(region.bytes(), 5 * MiB + kPageBytes);
  }
}

TEST(HugePages, AreAskedForUnderMemoryThatSomebodyElseAllocated) {
  if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage")) GTEST_SKIP() << "this kernel has no huge pages";
  constexpr uint64_t kBytes = 8 * MiB;
  void* mapped = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  // From the middle of a page on, as an allocator hands it out behind its own header.
  prefer_huge_pages(static_cast<std::byte*>(mapped) + 64, kBytes - 64);
  EXPECT_FALSE(asks_for_huge_pages(mapped));
  EXPECT_TRUE(asks_for_huge_pages(static_cast<std::byte*>(mapped) + kPageBytes));
  ::munmap(mapped, kBytes);
}

TEST(Region, IsZeroWritableAndGoneWhenDestroyed) {
  const std::byte* data = nullptr;
  {
    const Region region = Region::allocate(MiB, 0).value();
    data = region.data();
    for (uint64_t i = 0; i < MiB; ++i) ASSERT_EQ(region.data()[i], std::byte{0});
    std::memset(region.data(), 1, MiB);
  }
  std::vector<unsigned char> resident(MiB / kPageBytes);
  EXPECT_NE(::mincore(const_cast<std::byte*>(data), MiB, resident.data()), 0);
}

TEST(Region, MovesWithoutMovingItsBytes) {
  Region first = Region::allocate(MiB, 0).value();
  std::byte* data = first.data();
  Region second = std::move(first);
  EXPECT_EQ(second.data(), data);
  Region third;
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.bytes(), MiB);
}

TEST(Region, MoreThanTheAddressSpaceIsOutOfBudget) {
  const Result<Region> region = Region::allocate(1ull << 50, 0);
  ASSERT_FALSE(region);
  EXPECT_EQ(region.error().code(), Code::kOutOfBudget);
}

TEST(HugeArea, BeginsAtAHugePageAndIsMemoryAsFarAsItWasAskedFor) {
  for (const uint64_t unit_bytes : {kPageBytes, kHugePageBytes}) {
    HugeArea area = HugeArea::reserve(9 * MiB, unit_bytes).value();
    EXPECT_EQ(address_of(area.data()) % kHugePageBytes, 0u);
    EXPECT_EQ(area.bytes(), 0u);
    ASSERT_TRUE(area.resize(3 * MiB));
    EXPECT_EQ(area.bytes(), round_up(3 * MiB, unit_bytes));
    for (uint64_t at = 0; at < area.bytes(); at += kPageBytes) ASSERT_EQ(area.data()[at], std::byte{0});
    std::memset(area.data(), 7, area.bytes());
    const std::byte* before = area.data();
    ASSERT_TRUE(area.resize(9 * MiB));
    EXPECT_EQ(area.data(), before);
    EXPECT_EQ(area.data()[3 * MiB - 1], std::byte{7});
  }
}

TEST(HugeArea, WhatIsCutOffIsTheSystemsAgainAndReadsAsZerosWhenItComesBack) {
  HugeArea area = HugeArea::reserve(64 * MiB).value();
  ASSERT_TRUE(area.resize(64 * MiB));
  std::memset(area.data(), 1, 64 * MiB);
  [[maybe_unused]] const uint64_t full_bytes = process_usage().rss_bytes;
  ASSERT_TRUE(area.resize(4 * MiB));
  EXPECT_EQ(area.bytes(), 4 * MiB);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their shadow memory is counted, too
  EXPECT_LT(process_usage().rss_bytes, full_bytes - 56 * MiB);
#endif
  EXPECT_EQ(area.data()[4 * MiB - 1], std::byte{1});
  EXPECT_NE(mapping_at(area.data() + 4 * MiB).find("---p"), std::string::npos) << "the addresses stay ours";
  ASSERT_TRUE(area.resize(64 * MiB));
  EXPECT_EQ(area.data()[4 * MiB], std::byte{0});
}

TEST(HugeArea, AsksForHugePagesWhereItComesInThem) {
  if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage")) GTEST_SKIP() << "this kernel has no huge pages";
  HugeArea area = HugeArea::reserve(8 * MiB).value();
  ASSERT_TRUE(area.resize(8 * MiB));
  EXPECT_TRUE(asks_for_huge_pages(area.data()));
  HugeArea small = HugeArea::reserve(8 * MiB, kPageBytes).value();
  ASSERT_TRUE(small.resize(8 * MiB));
  EXPECT_FALSE(asks_for_huge_pages(small.data()));
}

TEST(HugeArea, PopulatedMemoryIsTakenBeforeItIsTouched) {
  HugeArea area = HugeArea::reserve(32 * MiB).value();
  ASSERT_TRUE(area.resize(32 * MiB));
  const uint64_t before_bytes = process_usage().rss_bytes;
  populate_huge_pages(area.data(), 32 * MiB);
  const uint64_t grown_bytes = process_usage().rss_bytes - before_bytes;
  EXPECT_TRUE(grown_bytes == 0 || grown_bytes > 24 * MiB) << grown_bytes;  // 0: a kernel before 5.14
  ASSERT_TRUE(area.resize(0));
  populate_huge_pages(area.data(), 32 * MiB);  // no memory any more: left alone
}

TEST(HugeArea, MoreThanTheAddressSpaceIsOutOfBudget) {
  const Result<HugeArea> area = HugeArea::reserve(1ull << 50);
  ASSERT_FALSE(area);
  EXPECT_EQ(area.error().code(), Code::kOutOfBudget);
}

TEST(HugeArea, OfNothingIsNoArea) {
  HugeArea area = HugeArea::reserve(0).value();
  EXPECT_TRUE(area.resize(0));
  EXPECT_EQ(area.bytes(), 0u);
}

TEST(SystemPage, IsOneOfOurs) { EXPECT_EQ(system_page_bytes() % kPageBytes, 0u); }

TEST(FreedMemory, GoesBackToTheSystem) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's allocator keeps what is freed";
#endif
  // Small pieces, each below what the allocator maps alone, and one that keeps the heap's end where it is.
  std::vector<std::unique_ptr<std::vector<char>>> pieces;
  for (int i = 0; i < 1024; ++i) pieces.push_back(std::make_unique<std::vector<char>>(64 * KiB, 'x'));
  const auto last = std::make_unique<std::vector<char>>(64 * KiB, 'x');
  const uint64_t used_bytes = process_usage().rss_bytes;
  pieces.clear();
  give_back_freed_memory();
  EXPECT_LT(process_usage().rss_bytes, used_bytes - 48 * MiB);
}

}  // namespace
}  // namespace spillway
