// SPDX-License-Identifier: MIT
// What a chain through homes takes of each memory, and where that puts each tensor. Pure.
#pragma once

#include "plan/cost_model.h"
#include "plan/stages.h"

namespace spillway {

// Fills places, devices, n_gpu_layers, experts_on_host and host.weight_bytes of a plan that has none yet. KV cache and
// buffers of devices too; whether a device has so much is for the caller to look at.
void place_tensors(const PlanBasis& basis, const Chain& chain, Plan& plan);

// KV cache, buffers and the program, on the host; and what devices take of its memory. After place_tensors().
void add_host_needs(const PlanBasis& basis, const Chain& chain, Mode mode, HostUse& host);

// The weights that the CPU computes with.
HostWeights host_weights(const PlanBasis& basis, const Chain& chain);

// Streams those weights within a budget: fills plan.layout, and each tensor's tier.
//   errors of lay_out()
Result<void> lay_out_host(const PlanBasis& basis, uint64_t weights_budget_bytes, Plan& plan);

// The least budget for weights that could stream them.
uint64_t streaming_bytes_min(const PlanBasis& basis, const Plan& plan);

// The least page cache that one operation after the other can do with.
uint64_t mapped_bytes_min(const PlanBasis& basis);

}  // namespace spillway
