// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "os/memory.h"

namespace spillway {
namespace {

Failure memory_error(const char* call, uint64_t bytes) {
  const int number = errno;
  const Code code = number == ENOMEM ? Code::kOutOfBudget : Code::kInternal;
  const char* hint = number == ENOMEM ? " (lower --ram)" : "";
  return error(code, fmt::format("{} of {}: {}{}", call, format_bytes(bytes), std::strerror(number), hint));
}

}  // namespace

Result<Region> Region::allocate(uint64_t bytes, uint64_t address_modulo) {
  // Reserve with room to shift, then keep only the aligned part: the kernel gives no choice of alignment.
  const uint64_t reserve_bytes = bytes + 2 * kHugePageBytes;
  void* reserved =
      ::mmap(nullptr, reserve_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return memory_error("mmap", bytes);
  auto* begin = static_cast<std::byte*>(reserved);
  const auto address = reinterpret_cast<uint64_t>(begin);
  const uint64_t shift = (address_modulo + kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
  if (shift > 0) ::munmap(begin, shift);
  ::munmap(begin + shift + bytes, reserve_bytes - shift - bytes);
  begin += shift;
  // A VMA of exactly this length: the kernel uses huge pages only where they lie wholly inside, so nothing rounds up.
  prefer_huge_pages(begin, bytes);
  return Region(begin, bytes);
}

void prefer_huge_pages(void* address, uint64_t bytes) {
  const uint64_t begin = round_up(reinterpret_cast<uint64_t>(address), kPageBytes);
  const uint64_t end = round_down(reinterpret_cast<uint64_t>(address) + bytes, kPageBytes);
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

Region::~Region() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}
Region::Region(Region&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
Region& Region::operator=(Region&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Result<HugeArea> HugeArea::reserve(uint64_t bytes_max, uint64_t unit_bytes) {
  unit_bytes = round_up(unit_bytes, system_page_bytes());
  bytes_max = round_up(bytes_max, unit_bytes);
  if (bytes_max == 0) return HugeArea();
  const uint64_t reserve_bytes = bytes_max + kHugePageBytes;
  void* reserved = ::mmap(nullptr, reserve_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return memory_error("mmap", bytes_max);
  auto* begin = static_cast<std::byte*>(reserved);
  const uint64_t address = reinterpret_cast<uint64_t>(begin), shift = round_up(address, kHugePageBytes) - address;
  if (shift > 0) ::munmap(begin, shift);
  ::munmap(begin + shift + bytes_max, kHugePageBytes - shift);
  return HugeArea(begin + shift, bytes_max, unit_bytes);
}

Result<void> HugeArea::resize(uint64_t bytes) {
  bytes = round_up(bytes, unit_bytes_);
  CHECK(bytes <= bytes_max_);
  if (bytes > bytes_) {
    const uint64_t more_bytes = bytes - bytes_;
    if (::mprotect(data_ + bytes_, more_bytes, PROT_READ | PROT_WRITE) != 0)
      return memory_error("mprotect", more_bytes);
    if (unit_bytes_ >= kHugePageBytes) prefer_huge_pages(data_ + bytes_, more_bytes);
  } else if (bytes < bytes_) {
    // In one call, so that the range is never free for others to map.
    void* mapped = ::mmap(data_ + bytes, bytes_ - bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    CHECK(mapped != MAP_FAILED);
  }
  bytes_ = bytes;
  return {};
}

HugeArea::~HugeArea() {
  if (data_ != nullptr) ::munmap(data_, bytes_max_);
}
HugeArea::HugeArea(HugeArea&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_max_(std::exchange(other.bytes_max_, 0)),
      bytes_(std::exchange(other.bytes_, 0)),
      unit_bytes_(other.unit_bytes_) {}
HugeArea& HugeArea::operator=(HugeArea&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_max_, other.bytes_max_);
  std::swap(unit_bytes_, other.unit_bytes_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void populate_huge_pages(std::byte* address, uint64_t bytes) {
  // By their numbers: the C library's headers may be older than the kernel.
  constexpr int kPopulateWrite = 23, kCollapse = 25;
  if (::madvise(address, bytes, kPopulateWrite) != 0) return;
  ::madvise(address, bytes, kCollapse);  // nothing to do where they are huge already
}

void expect_random_access(std::byte* address, uint64_t bytes) { ::madvise(address, bytes, MADV_RANDOM); }

uint64_t system_page_bytes() { return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)); }

void give_back_freed_memory() {
#ifdef __GLIBC__  // others have nothing to call, and keep less
  ::malloc_trim(0);
#endif
}

}  // namespace spillway
