// SPDX-License-Identifier: MIT
// What computing costs where a chain through homes puts it: the input of the cost model. Pure.
#pragma once

#include "plan/cost_model.h"
#include "plan/stages.h"

namespace spillway {

// Whether for a long pass weights of the host can be copied to this device: one of this machine, with its own memory.
bool can_help_prompts(const Home& home);

// One token, and one pass of a prompt. Where weights that stay on the host are better copied to a device for a long
// pass, counts that and sets plan.op_offload; only in mode resident. After place_tensors().
ComputeCost compute_cost(const PlanBasis& basis, const Chain& chain, Mode mode, Plan& plan);

// What is left of each device becomes a cache for the experts of its own layers, as libllama's moe_cache_size does:
// hits are computed there, misses uploaded first. Taken where that beats computing them on the CPU. A device that
// shares the host's memory gains nothing: the experts are there already.
void cache_experts(const PlanBasis& basis, const Chain& chain, Plan& plan, ComputeCost& compute);

// A prompt goes through in passes small enough that one layer's experts fit the slots.
ComputeCost cut_to_pool(const ComputeCost& compute, const HostWeights& weights, const Streamed& streamed);

// Reading what stays, and uploading what devices hold.
double load_seconds(const PlanBasis& basis, const Plan& plan);

}  // namespace spillway
