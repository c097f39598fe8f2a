// SPDX-License-Identifier: MIT
#include "plan/chain_cost.h"

#include <algorithm>

#include "base/saturating_sub.h"
#include "plan/expert_locality.h"
#include "plan/model_facts.h"
#include "plan/repacking.h"

namespace spillway {
namespace {

// libllama deals its expert cache out by layers and in whole experts, of which some are larger.
constexpr double kExpertCacheMargin = 1.25;

// A device that computes anyway; 0: none.
size_t helper_of(const PlanBasis& basis, const Plan& plan) {
  size_t helper = 0;
  for (size_t h = 1; h < basis.homes.all.size(); ++h)
    if (can_help_prompts(basis.homes.all[h]) && plan.devices[h - 1].weight_bytes > 0) helper = h;
  return helper;
}

}  // namespace

bool can_help_prompts(const Home& home) { return !home.is_worker && !home.shares_ram; }

ComputeCost compute_cost(const PlanBasis& basis, const Chain& chain, Mode mode, Plan& plan) {
  ComputeCost cost;
  cost.n_pass_tokens = basis.n_pass;
  cost.n_cores = std::max(basis.request.machine->cores, 1u);
  // Beside devices weights are as the file has them.
  const bool alone =
      std::all_of(chain.begin(), chain.end(), [](const StageOption& option) { return option.home == 0; });
  if (mode == Mode::kStream && alone && basis.request.kernels == Kernels::kRepacked) {
    cost.repack_s_per_byte = repack_s_per_byte(basis.model, basis.request.machine->matmul);
    cost.n_repacking = repacking_threads(static_cast<unsigned>(cost.n_cores));
  }
  const double n_pass = basis.n_pass;
  const double touched = experts_touched(basis.model.n_expert, basis.model.n_expert_used, basis.n_pass);
  const size_t helper = helper_of(basis, plan);
  double host_pass_s = 0, device_pass_s = 0, hop_pass_s = 0;
  double host_pass_on_helper_s = 0, host_bytes = 0;
  const auto hop = [&](size_t h) {
    const Home& home = basis.homes.all[h];
    cost.transfer_token_s += hop_seconds(home, basis.activation_bytes());
    hop_pass_s += hop_seconds(home, basis.activation_bytes() * n_pass);
  };
  const auto on_host = [&](double prompt_s, double prompt_on_helper_s, double bytes) {
    host_pass_s += n_pass * prompt_s;
    host_pass_on_helper_s += n_pass * prompt_on_helper_s;
    host_bytes += bytes;
  };
  size_t home = 0;
  for (size_t s = 0; s < chain.size(); ++s) {
    const StageOption& option = chain[s];
    const Stage& stage = basis.stages[s];
    if (option.home != home) {
      if (home > 0) hop(home);
      hop(option.home);
      home = option.home;
    }
    const double dense_s = stage.dense_token_s[home] + stage.kv_token_s[home];
    if (home == 0) {
      cost.host_token_s += dense_s;
      on_host(stage.dense_prompt_s[0], stage.dense_prompt_s[helper], static_cast<double>(stage.dense_bytes));
    } else {
      cost.device_token_s += dense_s;
      device_pass_s += n_pass * stage.dense_prompt_s[home];
    }
    if (option.kind == kWhole) {
      cost.device_token_s += stage.expert_token_s[home];
      device_pass_s += n_pass * stage.expert_prompt_s[home];
    } else {
      cost.host_token_s += stage.expert_token_s[0];
      cost.host_expert_token_s += stage.expert_token_s[0];
      on_host(stage.expert_prompt_s[0], stage.expert_prompt_s[helper],
              static_cast<double>(stage.expert_bytes) * touched);
    }
    if (option.kind == kWithoutExperts) hop(home), hop(home);
  }
  if (home > 0) hop(home);
  if (helper > 0 && mode == Mode::kResident) {
    const double copied_s = host_bytes / basis.homes.all[helper].upload_bytes_per_s + host_pass_on_helper_s;
    if (copied_s < host_pass_s) {
      host_pass_s = copied_s;
      plan.op_offload = true;
    }
  }
  cost.pass_s = host_pass_s + device_pass_s + hop_pass_s;
  return cost;
}

void cache_experts(const PlanBasis& basis, const Chain& chain, Plan& plan, ComputeCost& compute) {
  for (size_t h = 1; h < basis.homes.all.size(); ++h) {
    const Home& home = basis.homes.all[h];
    DeviceUse& device = plan.devices[h - 1];
    const uint64_t left_bytes = saturating_sub(device.memory_bytes, device.used_bytes());
    double expert_bytes = 0, host_s = 0, hops_s = 0, device_s = 0;
    for (size_t s = 0; s < chain.size(); ++s) {
      if (chain[s].home != h || chain[s].kind != kWithoutExperts) continue;
      const Stage& stage = basis.stages[s];
      expert_bytes += static_cast<double>(stage.expert_bytes);
      host_s += stage.expert_token_s[0];
      hops_s += 2 * hop_seconds(home, basis.activation_bytes());
      device_s += stage.expert_token_s[h];
    }
    if (expert_bytes <= 0 || home.is_worker || home.shares_ram) continue;
    const double share = static_cast<double>(left_bytes) / expert_bytes;
    // libllama refuses a cache for less than one token's experts.
    if (share < kExpertCacheMargin * expert_share(basis.model)) continue;
    const double miss = 1 - expert_hit_rate_lru(basis.model.n_expert, basis.model.n_expert_used, share);
    const double cached_s = device_s + miss * expert_bytes * expert_share(basis.model) / home.upload_bytes_per_s;
    if (cached_s >= host_s + hops_s) continue;
    compute.host_token_s -= host_s;
    compute.host_expert_token_s -= host_s;
    compute.transfer_token_s -= hops_s;
    compute.device_token_s += cached_s;
    device.expert_cache_bytes = std::min(left_bytes, static_cast<uint64_t>(expert_bytes));
    plan.moe_cache_bytes += device.expert_cache_bytes;
  }
}

ComputeCost cut_to_pool(const ComputeCost& compute, const HostWeights& weights, const Streamed& streamed) {
  if (weights.expert_bytes <= 0 || weights.n_expert_layers == 0) return compute;
  const double layer_expert_bytes =
      weights.expert_bytes / static_cast<double>(weights.n_expert_layers * std::max<uint64_t>(weights.n_expert, 1));
  const double n_slots = streamed.pool_bytes / layer_expert_bytes;
  if (n_slots >= static_cast<double>(weights.n_expert)) return compute;
  const auto n_tokens = static_cast<uint64_t>(n_slots / static_cast<double>(weights.n_expert_used));
  ComputeCost cut = compute;
  cut.n_pass_tokens = std::clamp<uint64_t>(n_tokens, 1, compute.n_pass_tokens);
  cut.pass_s *= static_cast<double>(cut.n_pass_tokens) / static_cast<double>(compute.n_pass_tokens);
  return cut;
}

double load_seconds(const PlanBasis& basis, const Plan& plan) {
  const HostUse& host = plan.host;
  double bytes = plan.mode == Mode::kMmap
                     ? 0
                     : static_cast<double>(host.pinned_bytes + host.ring_pool_bytes + host.expert_pool_bytes);
  double seconds = 0;
  for (size_t d = 0; d < plan.devices.size(); ++d) {
    const auto device_bytes = static_cast<double>(plan.devices[d].weight_bytes);
    bytes += device_bytes;
    // Reading and uploading overlap; the slower one decides.
    seconds = std::max(seconds, device_bytes / basis.homes.all[d + 1].upload_bytes_per_s);
  }
  return std::max(seconds, bytes / basis.homes.disk.sequential_bytes_per_s);
}

}  // namespace spillway
