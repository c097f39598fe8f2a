// SPDX-License-Identifier: MIT
#include "hw/read_choice.h"

#include <algorithm>

#include "base/bytes.h"

namespace spillway {

std::optional<ReadRate> choose_reads(std::span<const ReadRate> tried) {
  double best = 0;
  for (const ReadRate& one : tried) best = std::max(best, one.bytes_per_s);
  std::optional<ReadRate> chosen;
  for (const ReadRate& one : tried) {
    if (one.bytes_per_s <= 0 || one.bytes_per_s < best * kAsGoodAsBest) continue;
    const bool deeper = !chosen || one.depth > chosen->depth;
    if (deeper || (one.depth == chosen->depth && one.bytes_per_s > chosen->bytes_per_s)) chosen = one;
  }
  return chosen;
}

std::vector<uint32_t> read_sizes_for(uint64_t slice_bytes, uint32_t read_bytes_max) {
  const uint64_t max = std::max<uint64_t>(round_down(read_bytes_max, kPageBytes), kPageBytes);
  if (slice_bytes > 0 && slice_bytes < max) {
    const uint64_t whole = round_up(slice_bytes, kPageBytes);
    return {static_cast<uint32_t>(whole)};
  }
  const uint64_t half = std::max<uint64_t>(round_down(max / 2, kPageBytes), kPageBytes);
  if (half == max) return {static_cast<uint32_t>(max)};
  return {static_cast<uint32_t>(half), static_cast<uint32_t>(max)};
}

}  // namespace spillway
