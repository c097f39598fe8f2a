// SPDX-License-Identifier: MIT
// Dividing a model over homes, as device_split takes it: options of each stage, what they cost a request, and the
// memory there is. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/device_split.h"
#include "plan/stages.h"

namespace spillway {

struct HostPrice {  // seconds that a host byte costs beyond computing, per token
  double dense_s_per_byte = 0, expert_s_per_active_byte = 0;
};

// When the host streams, what it holds is read: dense weights whole, experts as they are missed.
HostPrice streaming_price(const PlanBasis& basis);

enum class Experts {
  kAnywhere,
  kOnHost,  // of all layers
};

// `shared_bytes_max`: that each device may take of memory which it shares with the host.
SplitProblem split_problem(const PlanBasis& basis, uint64_t shared_bytes_max, const HostPrice& price,
                           Experts experts = Experts::kAnywhere);

Chain chain_of(const SplitProblem& problem, const Split& split);

}  // namespace spillway
