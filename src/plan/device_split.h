// SPDX-License-Identifier: MIT
// Which layer lives where, when a model has several homes: the host, GPUs, other machines. Pure.
//
// A chain of stages (layers, then the output) passes through homes in a fixed order, the host first, as libllama lays
// layers out: a stage's home is never before that of the stage in front of it. Each stage has options: whole on a
// device, or without its experts, or on the host. Options cost seconds, bytes of their home, and bytes of the host's
// memory: experts that stay there, or all of a device that shares it. Changing homes costs seconds, and what the new
// home takes of the host's memory however little is put there. Wanted is the least sum of seconds that fits everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spillway {

struct StageOption {
  size_t home = 0;     // 0: the host
  uint64_t bytes = 0;  // of a device's memory
  double seconds = 0;
  int kind = 0;             // the caller's own meaning
  uint64_t host_bytes = 0;  // of the host's memory, whatever the home

  friend bool operator==(const StageOption&, const StageOption&) = default;
};

struct SplitProblem {
  std::vector<std::vector<StageOption>> stages;  // each has options, at most one of them on the host
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
};

// Of each memory, chains are told apart in so many steps.
inline constexpr size_t kSplitSteps = 1024;

// What is found fits, to the byte. It is at least as fast as any split that would leave 2 n / kSplitSteps of each
// memory free, with n stages; where everything fits on the host, one is always found.
Split split_over_homes(const SplitProblem& problem);

}  // namespace spillway
