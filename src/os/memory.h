// SPDX-License-Identifier: MIT
// Address space and the pages behind it. All addresses and lengths are multiples of 4096.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
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

// A range of addresses of which the beginning is memory, and can grow and shrink by whole units: 2 MiB for huge pages,
// or a multiple of 4096, where the kernel's pages are larger one of those. Addresses stay what they are. Not
// thread-safe, but for different parts of the memory.
class HugeArea {
 public:
  // Addresses for `bytes_max`, none of it memory yet. The start is a multiple of 2 MiB.
  //   OutOfBudget   the system has no addresses left
  static Result<HugeArea> reserve(uint64_t bytes_max, uint64_t unit_bytes = kHugePageBytes);
  HugeArea() = default;
  ~HugeArea();
  HugeArea(HugeArea&& other) noexcept;
  HugeArea& operator=(HugeArea&& other) noexcept;

  std::byte* data() const { return data_; }
  uint64_t bytes_max() const { return bytes_max_; }
  uint64_t bytes() const { return bytes_; }  // that are memory, whole units

  // So many units are memory that `bytes` fit, at most bytes_max(). What is cut off is the system's again when
  // this returns, and nobody may be using it; what is new reads as zeros and costs nothing before it is touched.
  //   OutOfBudget   the system does not grant more; nothing has changed
  Result<void> resize(uint64_t bytes);

 private:
  HugeArea(std::byte* data, uint64_t bytes_max, uint64_t unit_bytes)
      : data_(data), bytes_max_(bytes_max), unit_bytes_(unit_bytes) {}
  std::byte* data_ = nullptr;
  uint64_t bytes_max_ = 0, bytes_ = 0, unit_bytes_ = kHugePageBytes;
};

// Takes [address, +bytes), memory of a HugeArea, from the system now and not at its first touch, as huge pages even
// where the kernel would not give them by itself (Linux 5.14 and 6.1). Any thread; best effort: what is no memory any
// more is left alone.
void populate_huge_pages(std::byte* address, uint64_t bytes);

// Tells the kernel that [address, +bytes) of a file mapping is read in no order: a touch reads its page, not 4 MiB
// around it (measured: 191 faults and 1.2 s of system time per token otherwise).
void expect_random_access(std::byte* address, uint64_t bytes);

// Asks for huge pages under memory that somebody else allocated and nobody has touched yet, where they lie wholly
// inside.
void prefer_huge_pages(void* address, uint64_t bytes);

// The kernel's page size in bytes.
uint64_t system_page_bytes();

// Gives freed heap memory that the allocator keeps back to the system: after something large has gone, so that what
// comes next is not counted on top of it. Some milliseconds. Thread-safe.
void give_back_freed_memory();

}  // namespace spillway
