// SPDX-License-Identifier: MIT
#include "os/memory.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "os/file.h"
#include "os/machine.h"
#include "smaps.h"
#include "temp_folder.h"

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

// A mapped file of `kExtents` extents and as many slots. Extents are of no huge-page size, so splitting is met too.
class PublishedPages : public testing::Test {
 protected:
  static constexpr uint64_t kExtents = 12;
  static constexpr uint64_t kExtentBytes = 2 * MiB + 3 * kPageBytes;
  static constexpr uint64_t kFileBytes = kExtents * kExtentBytes;

  PublishedPages() {
    mapping_ = static_cast<std::byte*>(::mmap(nullptr, kFileBytes, PROT_READ, MAP_SHARED, file_->map_fd(), 0));
    EXPECT_NE(mapping_, MAP_FAILED);
    expect_random_access(mapping_, kFileBytes);
    for (uint64_t i = 0; i < kExtents; ++i)
      slots_.push_back(Region::allocate(kExtentBytes, address_of(extent(i))).value());
  }
  ~PublishedPages() override { ::munmap(mapping_, kFileBytes); }

  std::byte* extent(uint64_t i) const { return mapping_ + i * kExtentBytes; }
  std::byte* slot(uint64_t i) const { return slots_[i].data(); }
  void fill(uint64_t slot_index, uint64_t extent_index) const {
    std::memcpy(slot(slot_index), content_.data() + extent_index * kExtentBytes, kExtentBytes);
  }
  Result<void> publish(uint64_t slot_index, uint64_t extent_index) const {
    return publish_pages(slot(slot_index), extent(extent_index), kExtentBytes);
  }
  Result<void> withdraw(uint64_t extent_index, uint64_t slot_index) const {
    return withdraw_pages(extent(extent_index), slot(slot_index), kExtentBytes, file_->map_fd(),
                          extent_index * kExtentBytes);
  }
  bool shows_file(const std::byte* address) const {
    return mapping_at(address).find(file_->path()) != std::string::npos;
  }
  bool is_right(uint64_t i) const {
    return std::memcmp(extent(i), content_.data() + i * kExtentBytes, kExtentBytes) == 0;
  }

  TempFolder folder_;
  const std::string content_ = random_bytes(kFileBytes, test_seed());
  const std::unique_ptr<File> file_ = open_file(folder_.write("model.gguf", content_)).value();
  std::byte* mapping_ = nullptr;
  std::vector<Region> slots_;
};

TEST_F(PublishedPages, ShowTheSlotsBytesAndThenTheFileAgain) {
  std::memset(slot(0), 0x5A, kExtentBytes);  // not the file's, to see who answers
  ASSERT_TRUE(is_right(1));
  ASSERT_TRUE(publish(0, 1));
  EXPECT_FALSE(shows_file(extent(1)));
  EXPECT_EQ(extent(1)[0], std::byte{0x5A});
  EXPECT_EQ(extent(1)[kExtentBytes - 1], std::byte{0x5A});
  EXPECT_TRUE(is_right(0));
  EXPECT_TRUE(is_right(2));

  ASSERT_TRUE(withdraw(1, 0));
  EXPECT_TRUE(shows_file(extent(1)));
  EXPECT_TRUE(is_right(1));
  EXPECT_EQ(slot(0)[0], std::byte{0x5A});  // the pages came back, nothing was copied or freed
  EXPECT_EQ(slot(0)[kExtentBytes - 1], std::byte{0x5A});
  std::memset(slot(0), 1, kExtentBytes);
}

TEST_F(PublishedPages, StayPutAsPhysicalPages) {
  fill(0, 0);
  const std::string before = mapping_at(extent(0));
  ASSERT_TRUE(publish(0, 0));
  std::vector<unsigned char> resident(kExtentBytes / kPageBytes);
  ASSERT_EQ(::mincore(extent(0), kExtentBytes, resident.data()), 0);
  for (const unsigned char page : resident) ASSERT_EQ(page & 1, 1);
  ASSERT_EQ(::mincore(slot(0), kExtentBytes, resident.data()), 0);
  for (const unsigned char page : resident) ASSERT_EQ(page & 1, 0);  // reserved, without pages
}

TEST_F(PublishedPages, LeaveTheirSlotReservedWhileTheyAreAway) {
  fill(0, 0);
  ASSERT_TRUE(publish(0, 0));
  EXPECT_NE(mapping_at(slot(0)), "");
  EXPECT_NE(mapping_at(slot(0) + kExtentBytes - kPageBytes), "");
  // The kernel fills holes top down: had the slot become one, one of these would land in it.
  std::vector<std::pair<void*, size_t>> others;
  for (int i = 0; i < 400; ++i) {
    const size_t bytes = i % 2 == 0 ? kExtentBytes : kPageBytes;
    void* other = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(other, MAP_FAILED);
    others.emplace_back(other, bytes);
    const auto begin = reinterpret_cast<uint64_t>(other);
    EXPECT_TRUE(begin + bytes <= address_of(slot(0)) || begin >= address_of(slot(0)) + kExtentBytes);
  }
  ASSERT_TRUE(withdraw(0, 0));
  for (const auto& [other, bytes] : others) ::munmap(other, bytes);
}

TEST_F(PublishedPages, ReadRightBeforeDuringAndAfterPublishing) {
  std::atomic<bool> reading{true};
  std::atomic<uint64_t> rounds{0}, wrong{0};
  std::thread reader([&] {
    while (reading) {
      // Words of every page of all the file, in no order that the publishing follows.
      for (uint64_t offset = 0; offset < kFileBytes; offset += kPageBytes) {
        const uint64_t at = (offset * 5 + 8 * (rounds % 512)) % kFileBytes;
        wrong += std::memcmp(mapping_ + at, content_.data() + at, 8) != 0;
      }
      ++rounds;
    }
  });
  while (rounds == 0) std::this_thread::yield();
  for (uint64_t i = 0; i < kExtents; ++i) {
    fill(i, i);
    EXPECT_TRUE(publish(i, i));
  }
  for (const uint64_t now = rounds; rounds < now + 2;) std::this_thread::yield();
  // Filled anew, published again over themselves: the reader never misses a byte.
  for (int again = 0; again < 5; ++again) {
    for (uint64_t i = 0; i < kExtents; ++i) {
      fill(i, i);
      EXPECT_TRUE(publish(i, i));
    }
  }
  reading = false;
  reader.join();
  EXPECT_EQ(wrong, 0u);
  for (uint64_t i = 0; i < kExtents; ++i) {
    EXPECT_TRUE(withdraw(i, i));
    EXPECT_TRUE(is_right(i));
    EXPECT_TRUE(shows_file(extent(i)));
  }
}

TEST_F(PublishedPages, SurviveAnyOrderOfMovesThroughAnySlot) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  std::vector<int> slot_of(kExtents, -1);  // the model: which slot's pages an extent has
  std::vector<bool> is_away(kExtents, false);
  for (int move = 0; move < 400; ++move) {
    const uint64_t i = random() % kExtents;
    if (slot_of[i] >= 0) {
      const auto from = static_cast<uint64_t>(slot_of[i]);
      ASSERT_TRUE(withdraw(i, from));
      is_away[from] = false;
      slot_of[i] = -1;
    } else {
      const uint64_t s = random() % kExtents;
      if (is_away[s]) continue;
      fill(s, i);
      ASSERT_TRUE(publish(s, i));
      is_away[s] = true;
      slot_of[i] = static_cast<int>(s);
    }
    ASSERT_TRUE(is_right(i));
    ASSERT_EQ(shows_file(extent(i)), slot_of[i] < 0);
    if (move % 20 != 0) continue;
    for (uint64_t any = 0; any < kExtents; ++any) ASSERT_TRUE(is_right(any)) << "extent " << any;
  }
}

TEST_F(PublishedPages, ThatCannotMoveAreReportedAndStayRight) {
  fill(0, 0);
  const Result<void> result = publish_pages(slot(0) + 1, extent(0), kExtentBytes);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), testing::HasSubstr("mremap"));
  EXPECT_TRUE(is_right(0));
}

TEST(SystemPage, IsOneOfOurs) { EXPECT_EQ(system_page_bytes() % kPageBytes, 0u); }

TEST(MappingsLeft, GoesDownByWhatIsMapped) {
  const uint64_t before = mappings_left();
  EXPECT_GT(before, 1000u);
  std::vector<void*> pages;
  for (int i = 0; i < 100; ++i)  // of two kinds by turns, so that they do not merge
    pages.push_back(
        ::mmap(nullptr, kPageBytes, i % 2 == 0 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const uint64_t after = mappings_left();
  for (void* page : pages) ::munmap(page, kPageBytes);
  EXPECT_LE(after, before - 90);
}

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
