// SPDX-License-Identifier: MIT
#include "plan/chain_memory.h"

#include <algorithm>

#include "base/saturating_sub.h"
#include "plan/model_facts.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

// The host's part of the model as lay_out() takes it.
LayoutRequest host_part(const PlanBasis& basis, const Plan& plan, uint64_t weights_budget_bytes) {
  const std::vector<TensorInfo>& tensors = basis.model.tensors;
  LayoutRequest request{.tensors = &tensors,
                        .on_device = std::vector<bool>(tensors.size()),
                        .unused = std::vector<bool>(tensors.size()),
                        .shapes = basis.shapes,
                        .tied_embedding = !basis.model.has_output,
                        .n_expert_used = basis.model.n_expert_used,
                        .extent_bytes_min = basis.request.extent_bytes_min,
                        .weights_budget_bytes = weights_budget_bytes,
                        .figures_only = true};
  for (size_t t = 0; t < tensors.size(); ++t) {
    request.unused[t] = tensors[t].unused;
    if (plan.places[t].device == kHost) continue;
    if (tensors[t].name == "token_embd.weight")
      request.tied_embedding = false;  // the device has its copy; here only rows are read
    else
      request.on_device[t] = true;
  }
  return request;
}

void move_to_device(const PlanBasis& basis, const std::vector<size_t>& tensors, size_t device, Plan& plan) {
  for (const size_t t : tensors) {
    plan.places[t].device = static_cast<int>(device);
    plan.devices[device].weight_bytes += basis.model.tensors[t].range.bytes;
    // An embedding that is the output too stays on the host for its rows, and is copied to the device.
    if (basis.model.tensors[t].role == TensorRole::kEmbedding) continue;
    plan.host.weight_bytes -= basis.model.tensors[t].range.bytes;
  }
}

}  // namespace

void place_tensors(const PlanBasis& basis, const Chain& chain, Plan& plan) {
  plan.places.assign(basis.model.tensors.size(), {});
  for (size_t h = 1; h < basis.homes.all.size(); ++h) {
    const Home& home = basis.homes.all[h];
    plan.devices.push_back({.name = home.name,
                            .is_worker = home.is_worker,
                            .shares_ram = home.shares_ram,
                            .memory_bytes = home.memory_bytes});
  }
  plan.host.weight_bytes = basis.model.weight_bytes();
  for (size_t s = 0; s < chain.size(); ++s) {
    if (chain[s].home == 0) continue;
    const bool is_output = s + 1 == chain.size();
    const Stage& stage = basis.stages[s];
    const size_t d = chain[s].home - 1;
    move_to_device(basis, stage.dense, d, plan);
    if (chain[s].kind == kWhole) move_to_device(basis, stage.experts, d, plan);
    if (chain[s].kind == kWithoutExperts) plan.experts_on_host = true;
    DeviceUse& device = plan.devices[d];
    device.kv_bytes += stage.context_bytes();
    if (is_output)
      device.has_output = true;
    else
      ++device.n_layers;
    ++plan.n_gpu_layers;
  }
  for (DeviceUse& device : plan.devices)
    if (device.weight_bytes + device.kv_bytes > 0) device.compute_bytes = basis.buffer_bytes();
}

void add_host_needs(const PlanBasis& basis, const Chain& chain, Mode mode, HostUse& host) {
  const bool any_on_host =
      std::any_of(chain.begin(), chain.end(), [](const StageOption& o) { return o.kind != kWhole; });
  // Pages of files count for nobody where weights are left to the page cache.
  host.program_bytes = basis.need.program_bytes + (mode == Mode::kMmap ? 0 : loaded_program_bytes(basis.model));
  host.compute_bytes =
      (any_on_host ? basis.need.compute_bytes : basis.need.compute_bytes / 8) + basis.need.output_bytes;
  for (size_t s = 0; s < chain.size(); ++s)
    if (chain[s].home == 0) host.kv_bytes += basis.stages[s].context_bytes();
  const uint64_t measured_bytes = basis.request.other_bytes;
  if (measured_bytes == 0) return;  // else a load measured it: taken as it is
  host.program_bytes = saturating_sub(measured_bytes, host.kv_bytes + host.compute_bytes);
  if (host.program_bytes == 0) host.kv_bytes = measured_bytes, host.compute_bytes = 0;
}

HostWeights host_weights(const PlanBasis& basis, const Chain& chain) {
  HostWeights weights{.n_expert = basis.model.n_expert, .n_expert_used = experts_used(basis.model)};
  for (size_t s = 0; s < chain.size(); ++s) {
    if (chain[s].kind == kWhole) continue;
    const Stage& stage = basis.stages[s];
    if (chain[s].kind == kOnHost) weights.dense_bytes += static_cast<double>(stage.dense_bytes);
    weights.expert_bytes += static_cast<double>(stage.expert_bytes);
    weights.expert_token_bytes += static_cast<double>(stage.expert_bytes) * expert_share(basis.model);
    if (stage.expert_bytes == 0) continue;
    ++weights.n_expert_layers;
    if (chain[s].kind == kOnHost) ++weights.n_router_layers;
  }
  return weights;
}

Result<void> lay_out_host(const PlanBasis& basis, uint64_t weights_budget_bytes, Plan& plan) {
  ASSIGN_OR_RETURN(plan.layout, lay_out(host_part(basis, plan, weights_budget_bytes)));
  for (size_t t = 0; t < plan.places.size(); ++t)
    if (plan.layout.tiers[t] != Tier::kDevice) plan.places[t].tier = plan.layout.tiers[t];
  return {};
}

uint64_t streaming_bytes_min(const PlanBasis& basis, const Plan& plan) {
  const auto laid_out = lay_out(host_part(basis, plan, UINT64_MAX / 4));
  return laid_out ? laid_out->bytes_min : plan.host.weight_bytes;
}

uint64_t mapped_bytes_min(const PlanBasis& basis) {
  double most = 0;
  for (const Stage& stage : basis.stages)
    most = std::max(most, static_cast<double>(stage.dense_bytes) +
                              static_cast<double>(stage.expert_bytes) * expert_share(basis.model));
  return static_cast<uint64_t>(most);
}

}  // namespace spillway
