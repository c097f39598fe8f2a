// SPDX-License-Identifier: MIT
// Byte counts: units, ranges, pages, and the text people write them in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

inline constexpr uint64_t KiB = 1024;
inline constexpr uint64_t MiB = 1024 * KiB;
inline constexpr uint64_t GiB = 1024 * MiB;

// The unit of residency and of direct I/O. Larger kernel pages are refused when a weight space is opened.
inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kHugePageBytes = 2 * MiB;

constexpr uint64_t round_down(uint64_t value, uint64_t unit) { return value / unit * unit; }
constexpr uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

// A slot of the ring for weights of `bytes`, as plans count it and the store makes it: whole huge pages where those are
// at most an eighth more. What lies in 4 KiB pages anywhere in memory is read with a segment for each (behind virtio
// at 1.0 instead of 2.6 GB/s), and slots of the ring are few.
constexpr uint64_t ring_slot_bytes(uint64_t bytes) {
  const uint64_t whole_bytes = round_up(bytes, kHugePageBytes);
  return whole_bytes - bytes <= bytes / 8 ? whole_bytes : bytes;
}

// [offset, offset + bytes) of some file.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t bytes = 0;

  constexpr uint64_t end() const { return offset + bytes; }
  constexpr bool empty() const { return bytes == 0; }
  friend constexpr bool operator==(const ByteRange&, const ByteRange&) = default;
};

// The whole pages inside `range`; empty when it holds none.
constexpr ByteRange whole_pages_inside(ByteRange range) {
  const uint64_t begin = round_up(range.offset, kPageBytes);
  const uint64_t end = round_down(range.end(), kPageBytes);
  return end > begin ? ByteRange{begin, end - begin} : ByteRange{begin, 0};
}

// The pages that hold any byte of `range`.
constexpr ByteRange pages_around(ByteRange range) {
  if (range.empty()) return {round_down(range.offset, kPageBytes), 0};
  const uint64_t begin = round_down(range.offset, kPageBytes);
  return {begin, round_up(range.end(), kPageBytes) - begin};
}

// "4G", "4GB", "4GiB", "4.5g", "800m", "1234567": K, M, G and T are powers of 1024, as memory is sold and capped.
//   InvalidArgument   anything else, zero and negative sizes included
Result<uint64_t> parse_bytes(std::string_view text);

// "1.92 GiB", "590 MiB", "12 KiB", "7 B".
std::string format_bytes(uint64_t bytes);

}  // namespace spillway
