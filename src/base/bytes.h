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

// What memory and direct I/O are counted in; a kernel's own pages may be larger.
inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kHugePageBytes = 2 * MiB;

constexpr uint64_t round_down(uint64_t value, uint64_t unit) { return value / unit * unit; }
constexpr uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

// [offset, offset + bytes) of some file.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t bytes = 0;

  constexpr uint64_t end() const { return offset + bytes; }
  constexpr bool empty() const { return bytes == 0; }
  friend constexpr bool operator==(const ByteRange&, const ByteRange&) = default;
};

// "4G", "4GB", "4GiB", "4.5g", "800m", "1234567": K, M, G and T are powers of 1024, as memory is sold and capped.
//   InvalidArgument   anything else, zero and negative sizes included
Result<uint64_t> parse_bytes(std::string_view text);

// "1.92 GiB", "590 MiB", "12 KiB", "7 B".
std::string format_bytes(uint64_t bytes);

}  // namespace spillway
