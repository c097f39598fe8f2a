// SPDX-License-Identifier: MIT
#include "plan/stages.h"

#include <algorithm>

#include "plan/model_facts.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

// Products of few tokens are slower: half of the rate is reached at this many.
constexpr double kDeviceHalfRateTokens = 96, kHostHalfRateTokens = 8;

// A pass leaves so many tokens for each expert; with fewer than this the rate falls with them (q4_K on two threads: 115
// GFLOP/s with 8, 270 with 32, 290 with 128).
constexpr double kTokensPerExpertWanted = 20;

double expert_efficiency(const GgufModel& model, uint64_t n_tokens) {
  if (model.n_expert == 0) return 1;
  const double each = static_cast<double>(n_tokens * experts_used(model)) / static_cast<double>(model.n_expert);
  return std::min(1.0, each / kTokensPerExpertWanted);
}

// Of the rate with 512 tokens.
double efficiency(double n_tokens, double half_rate_tokens) {
  return n_tokens / (n_tokens + half_rate_tokens) * (512 + half_rate_tokens) / 512;
}

double token_seconds(const GgufModel& model, const std::vector<size_t>& tensors, const Home& home) {
  double seconds = 0;
  for (const size_t t : tensors) {
    const TensorInfo& tensor = model.tensors[t];
    seconds += static_cast<double>(tensor.range.bytes) * active_share(model, tensor) /
               home.rates.decode_bytes_per_s(tensor.type);
  }
  return seconds;
}

double prompt_seconds(const GgufModel& model, const std::vector<size_t>& tensors, const Home& home) {
  double seconds = 0;
  for (const size_t t : tensors) {
    const TensorInfo& tensor = model.tensors[t];
    const bool is_routed = active_share(model, tensor) < 1;
    seconds +=
        2 * static_cast<double>(n_values(tensor)) * active_share(model, tensor) /
        (is_routed ? home.rates.expert_prefill_flops_per_s(tensor.type) : home.rates.prefill_flops_per_s(tensor.type));
  }
  return seconds;
}

// Of its context a sequence has on average so much behind it.
double depth_share(const PlanRequest& request) {
  const uint64_t depth = std::min(request.n_ctx / std::max(request.n_seq, 1u), request.n_prompt + request.n_answer / 2);
  return static_cast<double>(depth) / static_cast<double>(request.n_ctx);
}

void add_seconds(const PlanBasis& basis, const Home& home, Stage& stage) {
  // Of a prompt only the last token needs the output.
  const bool is_output = &stage == &basis.stages.back();
  stage.dense_token_s.push_back(token_seconds(basis.model, stage.dense, home) + home.layer_s + home.layer_start_s);
  stage.expert_token_s.push_back(token_seconds(basis.model, stage.experts, home));
  const bool is_host = &home == &basis.homes.all.front();
  // On a processor, products gain nothing from passes longer than usual.
  const uint32_t n_pass = is_host ? std::min(basis.n_pass, kPassTokensUsual) : basis.n_pass;
  const double in_passes = efficiency(n_pass, is_host ? kHostHalfRateTokens : kDeviceHalfRateTokens);
  stage.dense_prompt_s.push_back(is_output ? 0
                                           : prompt_seconds(basis.model, stage.dense, home) / in_passes + home.layer_s +
                                                 home.layer_start_s / basis.n_pass);
  stage.expert_prompt_s.push_back(prompt_seconds(basis.model, stage.experts, home) /
                                  (is_host ? expert_efficiency(basis.model, basis.n_pass) : in_passes));
  stage.kv_token_s.push_back((static_cast<double>(stage.kv_bytes) * depth_share(basis.request) +
                              static_cast<double>(stage.state_bytes) / basis.request.n_seq) /
                             home.memory_bytes_per_s);
}

void make_stages(PlanBasis& basis) {
  const GgufModel& model = basis.model;
  basis.stages.assign(model.n_layer + 1, {});
  for (size_t l = 0; l < model.n_layer && l < basis.need.layers.size(); ++l) {
    basis.stages[l].kv_bytes = basis.need.layers[l].kv_bytes;
    basis.stages[l].state_bytes = basis.need.layers[l].state_bytes;
  }
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    const TensorInfo& tensor = model.tensors[t];
    if (tensor.unused || is_row_table(model, tensor)) continue;
    const bool in_layer = tensor.layer >= 0 && static_cast<uint64_t>(tensor.layer) < model.n_layer;
    Stage& stage = in_layer ? basis.stages[static_cast<size_t>(tensor.layer)] : basis.stages.back();
    const bool experts = tensor.slices > 1;
    (experts ? stage.experts : stage.dense).push_back(t);
    (experts ? stage.expert_bytes : stage.dense_bytes) += tensor.range.bytes;
  }
  for (Stage& stage : basis.stages)
    for (const Home& home : basis.homes.all) add_seconds(basis, home, stage);
}

}  // namespace

Result<PlanBasis> plan_basis(const PlanRequest& request, const Homes& homes, uint64_t ram_bytes, uint32_t n_ubatch) {
  PlanBasis basis{.request = request,
                  .model = *request.model,
                  .homes = homes,
                  .ram_bytes = ram_bytes,
                  .n_ubatch = n_ubatch,
                  .n_pass = n_ubatch,
                  .need = {},
                  .shapes = {},
                  .stages = {}};
  ASSIGN_OR_RETURN(basis.need, model_need(*request.model, {.n_ctx = request.n_ctx,
                                                           .n_seq = request.n_seq,
                                                           .n_ubatch = n_ubatch,
                                                           .n_outputs = request.n_outputs,
                                                           .cache = request.cache,
                                                           .adapter_bytes = request.adapter_bytes,
                                                           .projector_bytes = request.projector_bytes,
                                                           .swa_full = request.swa_full,
                                                           .shared = request.shared_context}));
  make_stages(basis);
  return basis;
}

PlanBasis with_passes_of(const PlanBasis& basis, uint32_t n_pass) {
  PlanBasis other = basis;
  other.n_pass = n_pass;
  make_stages(other);
  return other;
}

double expert_share(const GgufModel& model) {
  if (model.n_expert == 0) return 1;
  return std::min(1.0, static_cast<double>(experts_used(model)) / static_cast<double>(model.n_expert));
}

double hop_seconds(const Home& home, double bytes) { return home.hop_s + bytes / home.upload_bytes_per_s; }

}  // namespace spillway
