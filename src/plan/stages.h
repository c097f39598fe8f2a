// SPDX-License-Identifier: MIT
// A model as a chain through homes: its layers, then the output; what each takes, and what computing it costs at each
// home. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/device_split.h"
#include "plan/homes.h"
#include "plan/model_need.h"
#include "plan/planner.h"

namespace spillway {

// StageOption::kind.
enum StageKind {
  kOnHost,
  kWhole,           // all of it on a device
  kWithoutExperts,  // on a device, but its experts on the host
};

// A layer, or the output at the end.
struct Stage {
  std::vector<size_t> dense, experts;  // tensors
  uint64_t dense_bytes = 0, expert_bytes = 0;
  uint64_t kv_bytes = 0, state_bytes = 0;
  // [home] computing for one token, and for each token of a prompt that goes through in full passes
  std::vector<double> dense_token_s, expert_token_s, dense_prompt_s, expert_prompt_s, kv_token_s;

  uint64_t context_bytes() const { return kv_bytes + state_bytes; }
};

// Where each stage is: an option of each. Only homes and kinds count.
using Chain = std::vector<StageOption>;

// What all candidates with passes of one length stand on. The request and the homes must outlive it.
struct PlanBasis {
  const PlanRequest& request;
  const GgufModel& model;
  const Homes& homes;
  uint64_t ram_bytes = 0;   // the budget
  uint32_t n_ubatch = 512;  // tokens that one pass has room for
  uint32_t n_pass = 512;    // and has
  ModelNeed need;
  std::vector<WeightShape> shapes;  // [n_tensor] of weights on the host; empty: all plain
  std::vector<Stage> stages;        // [n_layer + 1]

  uint64_t buffer_bytes() const { return need.compute_bytes + need.output_bytes; }
  // Passes that a prompt takes, as parts of full ones.
  double n_prompt_passes() const {
    return static_cast<double>(std::max(request.n_prompt, request.n_prompt_long)) / n_pass;
  }
  double activation_bytes() const { return 4 * static_cast<double>(model.n_embd); }
};

//   errors of model_need
Result<PlanBasis> plan_basis(const PlanRequest& request, const Homes& homes, uint64_t ram_bytes, uint32_t n_ubatch);

// The same for passes that have `n_pass` tokens, of those that there is room for.
PlanBasis with_passes_of(const PlanBasis& basis, uint32_t n_pass);

// Of a layer's experts, what one token uses; 1 without experts.
double expert_share(const GgufModel& model);

// Handing `bytes` of activations over to or from a home.
double hop_seconds(const Home& home, double bytes);

}  // namespace spillway
