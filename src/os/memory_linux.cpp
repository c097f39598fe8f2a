// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "os/memory.h"

namespace spillway {
namespace {

tl::unexpected<Status> memory_error(const char* call, uint64_t bytes) {
  const int number = errno;
  const Code code = number == ENOMEM ? Code::kOutOfBudget : Code::kInternal;
  const char* hint = number == ENOMEM ? " (raise vm.max_map_count, or lower --ram)" : "";
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

Result<void> publish_pages(std::byte* from, std::byte* to, uint64_t bytes) {
  // MREMAP_DONTUNMAP: in a hole left at `from` the kernel would place somebody's next mmap, and the pages coming back
  // would overwrite it (seen as EFAULT and crashes).
  void* moved = ::mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
  if (moved == MAP_FAILED) return memory_error("mremap", bytes);
  return {};
}

Result<void> withdraw_pages(std::byte* from, std::byte* to, uint64_t bytes, int map_fd, uint64_t file_offset) {
  // MREMAP_DONTUNMAP here too: a hole at `from` would be open to anybody's mmap until the next line closes it. Making
  // the range PROT_NONE around the move instead was tried: two more passes over the page tables and two more interrupts
  // of every CPU per extent, 0.03 of 0.12 CPU s/GB.
  void* moved = ::mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
  if (moved == MAP_FAILED) return memory_error("mremap", bytes);
  void* mapped = ::mmap(from, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, map_fd, static_cast<off_t>(file_offset));
  if (mapped == MAP_FAILED) {
    // Never leave zeros where weights were: the pages go back, and stay published.
    auto failure = memory_error("mmap", bytes);
    moved = ::mremap(to, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, from);
    CHECK(moved != MAP_FAILED);
    return failure;
  }
  expect_random_access(from, bytes);
  return {};
}

Result<void> show_file_pages(std::byte* address, uint64_t bytes, int map_fd, uint64_t file_offset) {
  void* mapped = ::mmap(address, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, map_fd, static_cast<off_t>(file_offset));
  if (mapped == MAP_FAILED) return memory_error("mmap", bytes);
  return {};
}

void expect_random_access(std::byte* address, uint64_t bytes) { ::madvise(address, bytes, MADV_RANDOM); }

uint64_t system_page_bytes() { return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)); }

uint64_t mappings_left() {
  uint64_t limit = 65530;  // the kernel's default, should /proc be hidden
  std::ifstream("/proc/sys/vm/max_map_count") >> limit;
  std::ifstream maps("/proc/self/maps");
  const auto used =
      static_cast<uint64_t>(std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n'));
  return limit > used ? limit - used : 0;
}

void give_back_freed_memory() {
#ifdef __GLIBC__  // others have nothing to call, and keep less
  ::malloc_trim(0);
#endif
}

}  // namespace spillway
