// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>

#include "engine/auto_plan.h"
#include "engine/device_placement.h"
#include "engine/load_steps.h"
#include "engine/quick_probe.h"
#include "layout/tuning.h"
#include "os/machine.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

// A resident model's buffers, when only a guess decides whether it is worth trying.
constexpr uint64_t kBuffersGuessBytes = 512 * MiB;

// Before anything is loaded: what is sure to fit is loaded plainly, what may not goes the careful way.
Mode first_guess(const EngineParts& parts) {
  if (parts.options.mode) return *parts.options.mode;
  if (parts.options.weights_bytes > 0) return Mode::kStream;
  const GgufModel& files = parts.files;
  const uint64_t kv_bytes_max =
      files.n_layer * context_tokens(parts) * files.n_embd * 2 * 2;  // as if every head kept its own K and V in f16
  // Of the process, other models included: what is resident of it counts.
  const uint64_t needed_bytes = host_weight_bytes(parts) + kv_bytes_max + kBuffersGuessBytes +
                                parts.options.reserve_bytes + process_usage().rss_bytes;
  return needed_bytes <= parts.memory.budget_bytes ? Mode::kResident : Mode::kStream;
}

void settle_devices(EngineParts& parts) {
  parts.on_device = tensors_on_devices(parts.files, parts.options.devices);
  parts.memory.device_bytes = parts.files.weight_bytes() - host_weight_bytes(parts);
}

void adopt_devices(EngineParts& parts, const Plan& plan) {
  const double worker_answer_s = parts.options.devices.worker_answer_s;
  parts.options.devices = devices_of(plan, parts.files);
  parts.options.devices.worker_answer_s = worker_answer_s;
  settle_devices(parts);
}

void measure_disk_of(EngineParts& parts) {
  parts.disk.direct = largest_file(parts.files).is_direct();
  const auto probe = probe_model_disk(parts.files, parts.options.reader);
  if (!probe) return;
  parts.disk.disk_bytes_per_s = probe->disk_bytes_per_s;
  parts.disk.read_bytes = probe->read_bytes;
  parts.disk.depth = probe->depth;
  parts.disk.ring = probe->ring;
}

void adopt_plan(EngineParts& parts, Plan plan) {
  parts.memory.other_bytes_planned = plan.host.kv_bytes + plan.host.compute_bytes + plan.host.program_bytes;
  if (parts.n_ubatch_asked == 0) parts.options.n_ubatch = plan.n_ubatch;
  parts.plan = std::move(plan);
}

}  // namespace

Result<Mode> choose_mode(EngineParts& parts, const MatmulRate& compute) {
  LoadOptions& options = parts.options;
  settle_devices(parts);
  const Mode guess = first_guess(parts);
  if (guess != Mode::kResident && (options.measure_compute || options.weights_bytes == 0)) measure_disk_of(parts);
  if (options.weights_bytes > 0 || options.devices.any()) return guess;
  if (!options.choose_devices) options.gpu_memory_bytes = 0;
  const QuickFigures figures{.compute = compute,
                             .disk_bytes_per_s = parts.disk.disk_bytes_per_s,
                             .read_bytes = parts.disk.read_bytes,
                             .depth = parts.disk.depth};
  parts.machine = machine_of(options.machine, options.n_threads, figures, parts.files);
  auto plan =
      plan_load(parts.files, options, parts.machine, plan_budget_bytes(parts), context_tokens(parts), 0, options.mode);
  // By metadata nothing fits. Loading measures: it may fit by a little, or can say exactly how much is missing.
  if (!plan && plan.error().code() == Code::kOutOfBudget) {
    parts.why_no_plan = plan.error().message();
    return guess;
  }
  if (!plan) return tl::unexpected<Status>(plan.error().with_context(options.path));
  adopt_devices(parts, *plan);
  adopt_plan(parts, std::move(*plan));
  return parts.plan->mode;
}

uint64_t plan_budget_bytes(const EngineParts& parts) {
  return parts.memory.budget_bytes - std::min(parts.memory.budget_bytes, parts.options.reserve_bytes);
}

uint64_t host_weight_bytes(const EngineParts& parts) {
  uint64_t bytes = parts.files.weight_bytes();
  for (size_t t = 0; t < parts.on_device.size(); ++t)
    if (parts.on_device[t] && !parts.files.tensors[t].unused) bytes -= parts.files.tensors[t].range.bytes;
  return bytes;
}

LayoutRequest layout_request(const EngineParts& parts, const GraphWalk& walk, uint64_t weights_budget_bytes) {
  const std::vector<TensorInfo>& tensors = parts.files.tensors;
  LayoutRequest request{
      .tensors = &tensors,
      .on_device = parts.on_device,
      .unused = std::vector<bool>(tensors.size()),
      .alignment = {.offset = 1, .memory = 1},
      // A device that computes the output has a copy of the embedding; of the host's only rows are read.
      .tied_embedding = !parts.files.has_output && !parts.options.devices.any(),
      .n_expert_used = parts.files.n_expert_used,
      .extent_bytes_min = parts.options.extent_bytes_min > 0 ? parts.options.extent_bytes_min : kExtentBytesMin,
      .weights_budget_bytes = weights_budget_bytes};
  for (size_t t = 0; t < tensors.size(); ++t) request.unused[t] = tensors[t].unused;
  for (const auto& file : parts.files.files) {
    const ReadAlignment alignment = file->read_alignment();
    request.alignment.offset = std::max<uint64_t>(request.alignment.offset, alignment.offset);
    request.alignment.memory = std::max<uint64_t>(request.alignment.memory, alignment.memory);
  }
  for (uint32_t t = 0; t < tensors.size(); ++t) request.shapes.push_back(parts.weights->forms.shape(t));
  std::vector<bool> named(tensors.size());
  for (const WeightUse& use : walk.order.uses()) {
    if (named[use.tensor]) continue;
    named[use.tensor] = true;
    request.order.push_back(use.tensor);
  }
  return request;
}

uint32_t corruptible_extent(const Layout& layout) {
  const auto is_used = [&](uint32_t e) { return layout.extents[e].pool != Pool::kWhole; };
  auto extent = static_cast<uint32_t>(layout.extents.size() / 2);
  while (extent > 0 && !is_used(extent)) --extent;
  return extent;
}

void adopt_prediction(EngineParts& parts) {
  if (!parts.why_no_plan.empty())
    parts.placement.why += fmt::format("; not planned, since by metadata {}", parts.why_no_plan);
  if (parts.options.devices.any() && !parts.plan)
    parts.placement.predicted_tok_per_s = 0;  // the CPU's rate says nothing
  parts.placement.active_bytes = model_facts(parts.files).active_bytes;
  if (!parts.plan || parts.plan->mode != parts.placement.mode) return;
  parts.placement.predicted_tok_per_s = parts.plan->prediction.decode_tok_per_s;
  parts.placement.bytes_read_per_token = parts.plan->prediction.bytes_read_per_token;
  parts.placement.predicted_prefill_tok_per_s = parts.plan->prediction.prefill_tok_per_s;
  parts.placement.prefill_pass_tokens = parts.plan->n_ubatch;
  if (!parts.options.mode) parts.placement.why = parts.plan->why;
}

void predict_again(EngineParts& parts) {
  if (!parts.plan) return adopt_prediction(parts);
  auto plan = plan_load(parts.files, parts.options, parts.machine, parts.memory.budget_bytes,
                        llama_n_ctx(parts.context.get()), parts.memory.other_bytes, parts.placement.mode);
  if (plan && plan->n_gpu_layers == parts.plan->n_gpu_layers) parts.plan->prediction = plan->prediction;
  adopt_prediction(parts);
}

std::optional<LoadLooks> load_looks(const EngineParts& parts, const ComputeProbe& probe, const MatmulRate& probed,
                                    uint64_t free_bytes) {
  if (!parts.plan || parts.disk.disk_bytes_per_s <= 0) return std::nullopt;
  LoadLooks looks{.disk = {parts.files,
                           {.disk_bytes_per_s = parts.disk.disk_bytes_per_s,
                            .read_bytes = parts.disk.read_bytes,
                            .depth = parts.disk.depth,
                            .ring = parts.disk.ring}},
                  .compute = std::nullopt};
  // Beside it the disk's look has buffers, of a few MiB.
  if (free_bytes >= probe.weights_bytes + probe.weights_bytes / 4) looks.compute = ComputeLooks::open(probe, probed);
  return looks;
}

void adopt_looks(EngineParts& parts, const LoadLooks& looks) {
  parts.disk.disk_bytes_per_s = looks.disk.disk_bytes_per_s();
  MatmulRate compute{.type = dominant_type(parts.files)};
  if (looks.compute) compute.decode_bytes_per_s = looks.compute->decode_bytes_per_s();
  parts.machine = machine_of(parts.machine, parts.options.n_threads,
                             {.compute = compute,
                              .disk_bytes_per_s = parts.disk.disk_bytes_per_s,
                              .read_bytes = parts.disk.read_bytes,
                              .depth = parts.disk.depth},
                             parts.files);
}

void plan_resident_instead(EngineParts& parts) {
  parts.options.n_ubatch = parts.n_ubatch_asked;
  if (!parts.plan) return;
  parts.plan.reset();
  auto plan = plan_load(parts.files, parts.options, parts.machine, plan_budget_bytes(parts), context_tokens(parts), 0,
                        Mode::kResident);
  if (!plan) return;
  // Only one that is being loaded says anything about this run.
  DeviceOptions devices = devices_of(*plan, parts.files);
  devices.worker_answer_s = parts.options.devices.worker_answer_s;
  if (devices == parts.options.devices) adopt_plan(parts, std::move(*plan));
}

}  // namespace spillway
