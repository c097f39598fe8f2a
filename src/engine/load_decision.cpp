// SPDX-License-Identifier: MIT
#include <algorithm>

#include "engine/auto_plan.h"
#include "engine/device_placement.h"
#include "engine/load_steps.h"
#include "engine/quick_probe.h"
#include "layout/tuning.h"
#include "os/machine.h"
#include "plan/model_facts.h"
#include "plan/model_need.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

// A process without a model, a server's 50 MiB included: what is anonymous beyond it belongs to other models.
constexpr uint64_t kOwnAnonBytes = 96 * MiB;

// Before anything is loaded: what is sure to fit needs no measured disk, and where nothing is planned is loaded
// plainly; what may not fit goes the careful way.
Result<Mode> first_guess(const EngineParts& parts) {
  const LoadOptions& options = parts.options;
  if (options.mode) return *options.mode;
  if (options.weights_bytes > 0) return Mode::kStream;
  const uint64_t n_ctx = options.n_ctx > 0 ? options.n_ctx : std::max<uint64_t>(kContextFloor, options.n_ctx_min);
  ASSIGN_OR_RETURN(const uint64_t context_bytes, context_need_bytes(parts, n_ctx));
  // Of the process, other models included: what is resident of it counts.
  const uint64_t needed_bytes = host_weight_bytes(parts) + beside_bytes(parts) + context_bytes + kLoadedProgramBytes +
                                options.reserve_bytes + process_usage().rss_bytes;
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
  parts.memory.other_bytes_planned =
      plan.host.kv_bytes + plan.host.compute_bytes + plan.host.program_bytes + plan.cache_bytes;
  if (parts.n_ubatch_asked == 0) parts.options.n_ubatch = plan.n_ubatch;
  parts.options.n_outputs = plan.n_outputs;
  parts.options.reserve_bytes = parts.memory.reserve_bytes = plan.cache_bytes;
  parts.plan = std::move(plan);
}

LoadLimits limits_of(const EngineParts& parts, std::optional<Mode> mode) {
  return {.budget_bytes = parts.memory.budget_bytes,
          .held_bytes = parts.held_bytes,
          .adapter_bytes = parts.checked_adapters.bytes(),
          .projector_bytes = parts.projector_file ? parts.projector_file->need_bytes() : 0,
          .mode = mode};
}

void adopt_context(EngineParts& parts, const ContextChoice& choice) {
  parts.options.n_ctx = static_cast<uint32_t>(choice.n_ctx);
  parts.n_ctx_default = static_cast<uint32_t>(choice.n_ctx_default);
  parts.n_ctx_why = choice.why;
}

// Where nothing is planned, no speed says what a context may cost: it is the smallest that would be chosen.
void settle_context(EngineParts& parts) {
  if (parts.options.n_ctx > 0) return;
  const uint64_t n_trained = parts.files.n_ctx_train > 0 ? parts.files.n_ctx_train : kContextFloor;
  const uint64_t n_default = std::min(n_trained, kContextFloor);
  adopt_context(parts, {.plan = {},
                        .n_ctx = std::max<uint64_t>(n_default, parts.options.n_ctx_min),
                        .n_ctx_default = n_default,
                        .why = "nothing was planned"});
}

}  // namespace

Result<Mode> choose_mode(EngineParts& parts, const MatmulRate& compute) {
  LoadOptions& options = parts.options;
  settle_devices(parts);
  parts.memory.reserve_bytes = options.reserve_bytes;
  const uint64_t anon_bytes = process_usage().rss_anon_bytes;
  parts.held_bytes = anon_bytes - std::min(anon_bytes, kOwnAnonBytes);
  ASSIGN_OR_RETURN(const Mode guess, first_guess(parts));
  if (guess != Mode::kResident && (options.measure_compute || options.weights_bytes == 0)) measure_disk_of(parts);
  if (options.weights_bytes > 0 || options.devices.any()) {
    settle_context(parts);
    return guess;
  }
  if (!options.choose_devices) options.gpu_memory_bytes = 0;
  const QuickFigures figures{.compute = compute,
                             .disk_bytes_per_s = parts.disk.disk_bytes_per_s,
                             .read_bytes = parts.disk.read_bytes,
                             .depth = parts.disk.depth};
  parts.machine = machine_of(options.machine, options.n_threads, figures, parts.files);
  auto choice = plan_load(parts.files, options, parts.machine, limits_of(parts, options.mode));
  if (!choice) return Failure(choice.error().with_context(options.path));
  adopt_context(parts, *choice);
  adopt_devices(parts, choice->plan);
  adopt_plan(parts, std::move(choice->plan));
  return parts.plan->mode;
}

Result<void> check_plan(EngineParts& parts) {
  LoadOptions& options = parts.options;
  settle_devices(parts);
  const uint64_t n_ctx = options.n_ctx > 0 ? options.n_ctx : std::max<uint64_t>(kContextFloor, options.n_ctx_min);
  ASSIGN_OR_RETURN(const uint64_t context_bytes, context_need_bytes(parts, n_ctx));
  (void)context_bytes;
  if (options.weights_bytes > 0 || options.devices.any()) return {};  // nothing is planned then
  if (!options.choose_devices) options.gpu_memory_bytes = 0;
  parts.machine = machine_of(options.machine, options.n_threads, {}, parts.files);
  const auto choice = plan_load(parts.files, options, parts.machine, limits_of(parts, options.mode));
  if (!choice) return Failure(choice.error().with_context(options.path));
  return {};
}

uint64_t adapter_growth_bytes(const EngineParts& parts) {
  if (parts.checked_adapters.files.empty()) return 0;
  NeedOptions options{.n_ctx = llama_n_ctx(parts.context.get()),
                      .n_ubatch = llama_n_ubatch(parts.context.get()),
                      .cache = parts.options.cache};
  const auto without = model_need(parts.files, options);
  options.adapter_bytes = parts.checked_adapters.bytes();
  const auto with = model_need(parts.files, options);
  return with && without ? with->compute_bytes - without->compute_bytes : 0;
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
  LoadLimits limits = limits_of(parts, parts.placement.mode);
  limits.held_bytes = 0;  // measured, as all that is no weight of this model
  limits.other_bytes = parts.memory.other_bytes;
  LoadOptions options = parts.options;
  options.reserve_bytes = 0;
  const auto again = plan_load(parts.files, options, parts.machine, limits);
  if (again && again->plan.n_gpu_layers == parts.plan->n_gpu_layers) parts.plan->prediction = again->plan.prediction;
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
  auto again = plan_load(parts.files, parts.options, parts.machine, limits_of(parts, Mode::kResident));
  if (!again) return;
  // Only one that is being loaded says anything about this run.
  DeviceOptions devices = devices_of(again->plan, parts.files);
  devices.worker_answer_s = parts.options.devices.worker_answer_s;
  if (devices == parts.options.devices) adopt_plan(parts, std::move(again->plan));
}

}  // namespace spillway
