// SPDX-License-Identifier: MIT
#include "plan/evaluate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "plan/chain_cost.h"
#include "plan/chain_memory.h"

namespace spillway {
namespace {

std::string name_of(const PlanBasis& basis, const Chain& chain, Mode mode, ExpertCache cache) {
  bool any_gpu = false, any_worker = false, any_host = false;
  for (size_t s = 0; s < chain.size(); ++s) {
    const StageOption& option = chain[s];
    const bool output = s + 1 == chain.size();
    if (option.home == 0) any_host = any_host || !output;
    if (option.kind == kWithoutExperts) any_host = true;
    if (option.home > 0) (basis.homes.all[option.home].is_worker ? any_worker : any_gpu) = true;
  }
  if (!any_gpu && !any_worker) return mode_name(mode);
  std::string name = any_gpu && any_worker ? "GPU and workers" : any_worker ? "workers" : "GPU";
  if (any_host) name += mode == Mode::kStream ? " split, stream" : " split";
  if (cache == ExpertCache::kOnDevices) name += ", expert cache";
  return name;
}

struct TokenAndPass {
  Cost token, pass;
};

// What earlier runs taught. The host is no faster where it reads its weights than where it has them all: what slowed
// that slows this.
void correct(const PlanBasis& basis, const Plan& plan, Prediction& p, TokenAndPass& cost) {
  const PlanRequest& request = basis.request;
  if (request.corrections == nullptr || request.corrections->empty()) return;
  const bool on_host = plan.n_gpu_layers == 0;
  const Kernels kernels = on_host ? request.kernels : Kernels::kPlain;
  const auto factor_of = [&](const std::string& name) -> std::optional<double> {
    const auto known = find_correction(*request.corrections, model_key(basis.model), request.machine->fingerprint,
                                       corrected_mode(name, kernels), basis.ram_bytes);
    return known ? std::optional(known->factor()) : std::nullopt;
  };
  std::optional<double> factor = factor_of(plan.name);
  if (on_host && plan.mode != Mode::kResident)
    if (const auto resident = factor_of(mode_name(Mode::kResident))) factor = std::min(factor.value_or(1), *resident);
  if (!factor) return;
  p.correction = *factor;
  cost.token.seconds /= p.correction;
  cost.pass.seconds /= std::min(p.correction, 1.0);  // decoding was measured: a prompt is at most as bad
}

void predict(const PlanRequest& request, uint64_t n_pass_tokens, const TokenAndPass& cost, Prediction& p) {
  p.decode_tok_per_s = 1 / cost.token.seconds;
  p.prefill_tok_per_s = static_cast<double>(n_pass_tokens) / cost.pass.seconds;
  p.first_token_s = static_cast<double>(request.n_prompt) / p.prefill_tok_per_s + cost.token.seconds;
  p.request_s = request_seconds(p, request.n_prompt, request.n_answer);
  p.bytes_read_per_token = cost.token.bytes_read;
  p.hit_rate = cost.token.hit_rate;
  p.decode_bound = cost.token.bound;
  p.prefill_bound = cost.pass.bound;
}

}  // namespace

double request_seconds(const Prediction& prediction, uint64_t n_prompt, uint64_t n_answer) {
  return static_cast<double>(n_prompt) / prediction.prefill_tok_per_s +
         static_cast<double>(n_answer) / prediction.decode_tok_per_s;
}

Evaluated evaluate(const PlanBasis& basis, const Chain& chain, Mode mode, ExpertCache cache) {
  Evaluated out;
  out.chain = chain;
  out.cache = cache;
  Plan& plan = out.plan;
  plan.name = name_of(basis, chain, mode, cache);
  plan.mode = mode;
  plan.n_ubatch = basis.n_ubatch;
  HostUse& host = plan.host;
  host.memory_bytes = basis.ram_bytes;
  place_tensors(basis, chain, plan);

  if (mode == Mode::kMmap && basis.request.kernels == Kernels::kRepacked) {
    out.why_not = "the page cache holds weights as the file has them, and repacked kernels were chosen";
    return out;
  }

  // 1. Memory beside the weights.
  add_host_needs(basis, chain, mode, host);
  for (const DeviceUse& device : plan.devices) {
    if (device.used_bytes() > device.memory_bytes) {
      out.why_not = fmt::format("{} has {} and would need {}", device.name, format_bytes(device.memory_bytes),
                                format_bytes(device.used_bytes()));
      return out;
    }
    if (device.shares_ram) host.devices_bytes += device.used_bytes();
  }
  const uint64_t other_bytes = host.used_bytes();
  const uint64_t weights_budget_bytes = saturating_sub(basis.ram_bytes, other_bytes);
  const auto lacks = [&](uint64_t weights_bytes_min) {
    out.memory_bytes_min = weights_bytes_min + other_bytes;
    out.why_not = fmt::format("needs {} of memory: {} of weights, {} beside them", format_bytes(out.memory_bytes_min),
                              format_bytes(weights_bytes_min), format_bytes(other_bytes));
    return out;
  };

  // 2. Where the host's weights are.
  const HostWeights weights = host_weights(basis, chain);
  Streamed streamed;
  if (mode == Mode::kResident) {
    if (host.weight_bytes > weights_budget_bytes || other_bytes > basis.ram_bytes) return lacks(host.weight_bytes);
    host.pinned_bytes = host.weight_bytes;
  } else if (mode == Mode::kStream) {
    if (!lay_out_host(basis, weights_budget_bytes, plan)) return lacks(streaming_bytes_min(basis, plan));
    const Layout& layout = plan.layout;
    if (other_bytes > basis.ram_bytes) return lacks(layout.bytes_min);
    host.pinned_bytes = layout.pinned_bytes;
    host.ring_pool_bytes = layout.ring_pool_bytes;
    host.expert_pool_bytes = layout.pool_bytes - layout.ring_pool_bytes;
    host.rows_bytes = layout.rows_bytes;
    host.buffer_bytes = layout.buffer_bytes;
    host.streamed_bytes = layout.ring_tensor_bytes + saturating_sub(layout.expert_tensor_bytes, host.expert_pool_bytes);
    streamed.ring_bytes = static_cast<double>(layout.ring_tensor_bytes);
    streamed.pool_bytes = static_cast<double>(host.expert_pool_bytes);
  } else {
    const uint64_t least = mapped_bytes_min(basis);
    if (least > weights_budget_bytes || other_bytes > basis.ram_bytes) return lacks(least);
    host.pinned_bytes = 0;
  }
  out.possible = true;

  // 3. What it costs.
  ComputeCost compute = compute_cost(basis, chain, mode, plan);
  if (cache == ExpertCache::kOnDevices) cache_experts(basis, chain, plan, compute);
  const auto page_cache_bytes = static_cast<double>(weights_budget_bytes);
  TokenAndPass cost;
  if (mode == Mode::kResident) {
    cost = {resident_token(compute), resident_pass(compute)};
  } else if (mode == Mode::kStream) {
    const ComputeCost cut = cut_to_pool(compute, weights, streamed);
    cost = {streamed_token(compute, weights, streamed, basis.homes.disk),
            streamed_pass(cut, weights, streamed, basis.homes.disk)};
    cost.pass.seconds *= static_cast<double>(compute.n_pass_tokens) / static_cast<double>(cut.n_pass_tokens);
  } else {
    cost = {mapped_token(compute, weights, page_cache_bytes, basis.homes.disk),
            mapped_pass(compute, weights, page_cache_bytes, basis.homes.disk)};
  }
  correct(basis, plan, plan.prediction, cost);
  predict(basis.request, compute.n_pass_tokens, cost, plan.prediction);
  plan.prediction.load_s = load_seconds(basis, plan);
  return out;
}

}  // namespace spillway
