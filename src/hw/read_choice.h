// SPDX-License-Identifier: MIT
// With which reads a disk is used, of those that were tried. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace spillway {

// One combination and what came of it.
struct ReadRate {
  uint32_t read_bytes = 0;
  unsigned depth = 0;  // reads in flight
  double bytes_per_s = 0;
};

// So much less than the best rate is no loss: probes of one disk differ by as much.
inline constexpr double kAsGoodAsBest = 0.95;

// Among those as good as the best, the most reads in flight, and of these the fastest: the queue then outlasts the
// moments in which the reader does not get to fill it (with twice the depth, a dense model streamed 2 % faster), and
// demand waits for no more reads than are as fast. nullopt: nothing gave anything.
std::optional<ReadRate> choose_reads(std::span<const ReadRate> tried);

// Sizes worth trying for slices of `slice_bytes` (0: of any length), multiples of 4096: a slice is read whole where the
// device takes so much at once, and a longer one in parts of that or half of it.
std::vector<uint32_t> read_sizes_for(uint64_t slice_bytes, uint32_t read_bytes_max);

}  // namespace spillway
