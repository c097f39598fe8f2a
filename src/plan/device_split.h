// SPDX-License-Identifier: MIT
// Which layer lives where, when a model has several homes: the host, GPUs, other machines. Pure.
//
// A chain of stages (layers, then the output) passes through homes in a fixed order, the host first, as libllama lays
// layers out: a stage's home is never before that of the stage in front of it. Each stage has options: whole on a
// device, or without its experts, or on the host. Options cost seconds, bytes of their home, and bytes of the host's
// memory: experts that stay there, or all of a device that shares it. Changing homes costs seconds, and what the new
// home takes of the host's memory however little is put there. Wanted is the least sum of seconds that fits everywhere.
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
  size_t home = 0;     // 0: the host
  uint64_t bytes = 0;  // of a device's memory
  double seconds = 0;
  int kind = 0;             // the caller's own meaning
  uint64_t host_bytes = 0;  // of the host's memory, whatever the home

  friend bool operator==(const StageOption&, const StageOption&) = default;
};

struct SplitProblem {
  std::vector<std::vector<StageOption>> stages;  // each has an option
  std::vector<uint64_t> capacity_bytes;          // [home]; [0] for all host_bytes together
  std::vector<std::vector<double>> hop_s;        // [from][to], from before to
  std::vector<uint64_t> join_host_bytes = {};    // [home] taken of the host by the first stage there; empty: nothing

  uint64_t join_bytes(size_t from, size_t to) const {
    return from == to || join_host_bytes.empty() ? 0 : join_host_bytes[to];
  }
};

struct Split {
  std::vector<size_t> chosen;  // [stage]: index of its option; empty: no split that fits was found
  double seconds = 0;
  double seconds_min = 0;  // no split can be faster; equal to `seconds` when this one is proved optimal
};

// Where everything fits on the host, a split is always found.
Split split_fast(const SplitProblem& problem);

//   Unsupported   more than `steps_max` steps of the search were needed      OutOfBudget   nothing fits
Result<Split> split_exactly(const SplitProblem& problem, uint64_t steps_max = 20'000'000);

// Seconds of a choice; the caller's check, and the tests'.
double seconds_of(const SplitProblem& problem, const std::vector<size_t>& chosen);
bool fits(const SplitProblem& problem, const std::vector<size_t>& chosen);

}  // namespace spillway
