// SPDX-License-Identifier: MIT
// Dividing a model over homes, as device_split takes it: options of each stage, what they cost a request, and the
// memory there is. Pure.
//
// What a request takes is a sum over stages only while nothing streams: then the problem's optimum is the plan's. With
// streaming, reading goes on beside computing and the longer of the two counts, so the sum weighs one against the
// other; several weights are tried, and the plan's own prediction decides (plan/candidates).
#pragma once

#include <cstdint>

#include "plan/device_split.h"
#include "plan/stages.h"

namespace spillway {

struct SplitTerms {
  enum class Host {
    kUnlimited,  // as if everything fitted into the host's memory
    kResident,   // what is there stays in its memory
    kStreamed,   // what is there is read for each token
  };
  enum class Experts {
    kAnywhere,
    kOnHost,      // of all layers, with what is left of devices as a cache for them
    kWithLayers,  // where the rest of their layer is
  };
  Host host = Host::kUnlimited;
  Experts experts = Experts::kAnywhere;
  // A device to which the host's weights are copied for a prompt, and which then has at least the output; 0: none.
  size_t prompt_home = 0;

  // Streamed.
  uint64_t shared_bytes_max = UINT64_MAX;  // of the host's memory, for all devices that share it
  double read_share = 0.5;                 // of a second of reading, against one of computing; 0 to 1
  double pool_share = 1;                   // of the host's experts, in memory: how many misses one more of them causes
};

SplitProblem split_problem(const PlanBasis& basis, const SplitTerms& terms);

Chain chain_of(const SplitProblem& problem, const Split& split);

}  // namespace spillway
