// SPDX-License-Identifier: MIT
// Address space and the pages behind it: reserving, moving pages between addresses without copying, mapping files.
// All addresses and lengths are multiples of 4096.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace spillway {

// Anonymous zero memory, unmapped when destroyed. Huge pages are asked for where they fit wholly inside.
class Region {
 public:
  // `address_modulo`: the start is congruent to it modulo 2 MiB, so that pages moved to such an address stay huge.
  //   OutOfBudget   the system has no address space or memory left
  static Result<Region> allocate(uint64_t bytes, uint64_t address_modulo);
  Region() = default;
  ~Region();
  Region(Region&& other) noexcept;
  Region& operator=(Region&& other) noexcept;

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  Region(std::byte* data, uint64_t bytes) : data_(data), bytes_(bytes) {}
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// Moves the pages at [from, from+bytes) over [to, to+bytes), whose own backing goes. A thread that touches `to`
// meanwhile waits, and sees either the old bytes or the new. `from` stays reserved, without pages. One VMA on each
// side.
Result<void> publish_pages(std::byte* from, std::byte* to, uint64_t bytes);

// The way back: the pages at `from` go to `to` (reserved by publish_pages), then `from` shows the file again. Between
// the two steps `from` reads as zeros, so nobody may be reading it; the range is never free for others to map.
Result<void> withdraw_pages(std::byte* from, std::byte* to, uint64_t bytes, int map_fd, uint64_t file_offset);

// Drops the pages at `address` for the file's mapping, read ahead as the kernel sees fit. A thread that touches the
// range meanwhile sees either.
Result<void> show_file_pages(std::byte* address, uint64_t bytes, int map_fd, uint64_t file_offset);

// Tells the kernel that [address, +bytes) of a file mapping is read in no order: a touch reads its page, not 4 MiB
// around it (measured: 191 faults and 1.2 s of system time per token otherwise).
void expect_random_access(std::byte* address, uint64_t bytes);

// Asks for huge pages under memory that somebody else allocated and nobody has touched yet, where they lie wholly
// inside.
void prefer_huge_pages(void* address, uint64_t bytes);

// The kernel's page size in bytes.
uint64_t system_page_bytes();

// How many mappings this process may still make before the kernel refuses (vm.max_map_count); each resident extent
// takes up to two.
uint64_t mappings_left();

// Gives freed heap memory that the allocator keeps back to the system: after something large has gone, so that what
// comes next is not counted on top of it. Some milliseconds. Thread-safe.
void give_back_freed_memory();

}  // namespace spillway
