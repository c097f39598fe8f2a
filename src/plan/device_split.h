// SPDX-License-Identifier: MIT
// Which layer lives where, when a model has several homes: the host, GPUs, other machines. Pure.
//
// A chain of stages (layers, then the output) passes through homes in a fixed order, the host first, as libllama lays
// layers out: a stage's home is never before that of the stage in front of it. Each stage has options: whole on a
// device, or without its experts, or on the host. Options cost seconds and bytes of their home; changing homes costs
// seconds. Wanted is the least sum of seconds that fits every home.
//
// Two methods: split_fast() in milliseconds at run time, with a lower bound that says how far from the optimum it can
// be at most; split_exactly() for small cases and for the tests that hold the fast one to 1 %.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"

namespace spillway {

inline constexpr size_t kHomesMax = 17;  // the host and as many devices as libllama takes

struct StageOption {
  size_t home = 0;     // 0: the host, which is not limited here
  uint64_t bytes = 0;  // of the home's memory
  double seconds = 0;
  int kind = 0;  // the caller's own meaning
};

struct SplitProblem {
  std::vector<std::vector<StageOption>> stages;  // each has an option on the host
  std::vector<uint64_t> capacity_bytes;          // [home]; that of the host is not looked at
  std::vector<std::vector<double>> hop_s;        // [from][to], from before to
};

struct Split {
  std::vector<size_t> chosen;  // [stage]: index of its option
  double seconds = 0;
  double seconds_min = 0;  // no split can be faster; equal to `seconds` when this one is proved optimal
};

Split split_fast(const SplitProblem& problem);

//   Unsupported   more than `steps_max` steps of the search were needed
Result<Split> split_exactly(const SplitProblem& problem, uint64_t steps_max = 20'000'000);

// Seconds of a choice; the caller's check, and the tests'.
double seconds_of(const SplitProblem& problem, const std::vector<size_t>& chosen);
bool fits(const SplitProblem& problem, const std::vector<size_t>& chosen);

}  // namespace spillway
