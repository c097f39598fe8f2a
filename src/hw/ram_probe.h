// SPDX-License-Identifier: MIT
// How fast all threads together read memory. Decoding from memory can not be faster than this, whatever the processor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace spillway {

struct RamProbeOptions {
  unsigned n_threads = 1;
  uint64_t bytes = 0;  // read per round; 0: far above the caches, 1 GiB at most, and a quarter of what is free
};

struct RamFigure {
  double ram_bytes_per_s = 0;       // the better of two passes, each the best of a few rounds
  std::vector<std::string> doubts;  // in plain words; empty when the passes agree
};

// Takes about a second. Blocks; starts threads of its own and ends them.
//   OutOfBudget   so little memory is free that only a cache would be measured
Result<RamFigure> measure_ram(const RamProbeOptions& options);

}  // namespace spillway
