// SPDX-License-Identifier: MIT
#include "engine/auto_plan.h"

#include <algorithm>

#include "engine/correction_store.h"
#include "layout/tuning.h"
#include "os/machine.h"
#include "plan/repacking.h"
#include "probe/quick_probe.h"

namespace spillway {

namespace {

constexpr double kDiskImpossibleBytes_per_s = 30e9;

MachineProfile unknown_machine() {
  MachineProfile machine;
  machine.name = "this machine";
  machine.source = "measured";
  machine.cpu = cpu_name();
  machine.ram_bytes_total = memory_state().total_bytes;
  machine.doubts.emplace_back(
      "no profile of this machine is kept: only the processor and the disk were measured, for half a second; "
      "'spillway profile' does it well");
  return machine;
}

}  // namespace

MachineProfile machine_of(const std::optional<MachineProfile>& profile, unsigned n_threads, const QuickFigures& figures,
                          const GgufModel& model) {
  MachineProfile machine = profile ? *profile : unknown_machine();
  machine.cores = n_threads > 0 ? n_threads : usable_cpus();
  // A disk's speed drifts by the hour, so what was measured this minute counts.
  if (figures.disk_bytes_per_s > 0 && figures.disk_bytes_per_s < kDiskImpossibleBytes_per_s) {
    if (machine.disks.empty()) machine.disks.emplace_back();
    DiskFacts& disk = machine.disks.front();
    disk.volume = largest_file(model).path();
    disk.sequential_bytes_per_s = disk.scattered_bytes_per_s = figures.disk_bytes_per_s;
    disk.read_bytes = figures.read_bytes;
    disk.depth = figures.depth;
  }
  const MatmulRate& measured = figures.compute;
  if (measured.decode_bytes_per_s <= 0) return machine;
  const auto kept = std::find_if(machine.matmul.begin(), machine.matmul.end(),
                                 [&](const MatmulRate& rate) { return rate.type == measured.type; });
  if (kept == machine.matmul.end()) {
    machine.matmul.push_back(measured);
    // Not measured here, and 0 beside types that have a rate would say that there is no such form.
    machine.matmul.back().repack_bytes_per_s = typical_repack_bytes_per_s(measured.type);
    return machine;
  }
  kept->decode_bytes_per_s = measured.decode_bytes_per_s;
  if (measured.prefill_flops_per_s > 0) kept->prefill_flops_per_s = measured.prefill_flops_per_s;
  if (measured.expert_prefill_flops_per_s > 0) kept->expert_prefill_flops_per_s = measured.expert_prefill_flops_per_s;
  return machine;
}

Result<Kernels> kernels_for(const GgufModel& model, const LoadOptions& options) {
  if (options.kernels == Kernels::kAuto && options.weights_bytes > 0) return Kernels::kPlain;
  const uint64_t limit_bytes = memory_state().limit_bytes;
  return choose_kernels({.wanted = options.kernels,
                         .weight_bytes = model.weight_bytes(),
                         .memory_bytes = options.ram_bytes > 0 ? std::min(options.ram_bytes, limit_bytes) : limit_bytes,
                         .n_cores = usable_cpus(),
                         .in_page_cache = options.mode == Mode::kMmap,
                         .on_devices = options.devices.any()});
}

Result<ContextChoice> plan_load(const GgufModel& model, const LoadOptions& options, const MachineProfile& machine,
                                const LoadLimits& limits) {
  const std::vector<Correction> corrections = options.keep_heat ? load_corrections() : std::vector<Correction>{};
  PlanRequest request;
  request.model = &model;
  request.machine = &machine;
  request.corrections = &corrections;
  request.ram_bytes = limits.budget_bytes;
  request.held_bytes = limits.held_bytes;
  request.cache_bytes = options.reserve_bytes;
  request.other_bytes = limits.other_bytes;
  request.mode = limits.mode;
  // Within a cgroup's limit the page cache counts, and a budget that is this limit holds all the same.
  request.may_use_page_cache = options.ram_bytes == 0 || limits.budget_bytes < options.ram_bytes;
  ASSIGN_OR_RETURN(request.kernels, kernels_for(model, options));
  request.n_seq = options.n_seq_max;
  request.shared_context = options.shared_context;
  request.swa_full = options.swa_full;
  request.cache = options.cache;
  request.adapter_bytes = limits.adapter_bytes;
  request.projector_bytes = limits.projector_bytes;
  request.n_ubatch = options.n_ubatch;
  request.n_prompt_long = std::min<uint64_t>(kLongPromptTokens, options.n_batch);
  request.n_outputs = std::max(options.n_outputs, options.n_seq_max);
  request.gpu_memory_bytes = options.gpu_memory_bytes;
  request.extent_bytes_min = options.extent_bytes_min > 0 ? options.extent_bytes_min : kExtentBytesMin;
  return plan_with_context(request, options.n_ctx, options.n_ctx_min);
}

DeviceOptions devices_of(const Plan& plan, const GgufModel& model) {
  DeviceOptions devices;
  if (plan.n_gpu_layers == 0) return devices;
  for (const DeviceUse& device : plan.devices) {
    if (device.n_layers == 0 && !device.has_output) continue;
    (device.is_worker ? devices.workers : devices.names).push_back(device.name);
    devices.layer_share.push_back(static_cast<float>(device.n_layers + (device.has_output ? 1 : 0)));
  }
  devices.n_gpu_layers = plan.n_gpu_layers;
  for (size_t t = 0; plan.experts_on_host && t < plan.places.size(); ++t) {
    const TensorInfo& tensor = model.tensors[t];
    if (tensor.role != TensorRole::kExperts || tensor.layer < 0 || plan.places[t].device != kHost) continue;
    const auto layer = static_cast<uint32_t>(tensor.layer);
    if (devices.host_expert_layers.empty() || devices.host_expert_layers.back() != layer)
      devices.host_expert_layers.push_back(layer);
  }
  std::sort(devices.host_expert_layers.begin(), devices.host_expert_layers.end());
  devices.op_offload = plan.op_offload;
  devices.expert_cache_bytes = plan.moe_cache_bytes;
  return devices;
}

}  // namespace spillway
