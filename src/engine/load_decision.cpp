// SPDX-License-Identifier: MIT
#include "engine/load_decision.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "engine/auto_plan.h"
#include "engine/device_placement.h"
#include "engine/load_context.h"
#include "os/machine.h"
#include "plan/model_facts.h"
#include "plan/model_need.h"
#include "plan/plan_words.h"
#include "plan/tuning.h"
#include "store/tuning.h"

namespace spillway {
namespace {

// A process without a model, a server's 50 MiB included: what is anonymous beyond it belongs to other models.
constexpr uint64_t kOwnAnonBytes = 96 * MiB;
constexpr uint32_t kUbatchMin = 16;

bool is_planned(const LoadOptions& options) { return options.weights_bytes == 0 && !options.devices.any(); }

// What a context that is yet to be chosen takes at least.
Result<uint64_t> context_bytes_min(const LoadRequest& request) {
  const LoadOptions& options = request.options;
  const uint64_t n_ctx = options.n_ctx > 0 ? options.n_ctx : std::max<uint64_t>(kContextFloor, options.n_ctx_min);
  return context_need_bytes(request, options.devices, shape_asked(options), n_ctx);
}

// What is sure to fit needs no measured disk, and where nothing is planned is loaded plainly; what may not fit goes the
// careful way.
Result<Mode> mode_by_size(const LoadRequest& request) {
  const LoadOptions& options = request.options;
  if (options.mode) return *options.mode;
  if (options.weights_bytes > 0) return Mode::kStream;
  ASSIGN_OR_RETURN(const uint64_t context_bytes, context_bytes_min(request));
  const uint64_t weight_bytes = host_weight_bytes(request.gguf, tensors_on_devices(request.gguf, options.devices));
  // Of the process, other models included: what is resident of it counts.
  const uint64_t needed_bytes = weight_bytes + request.beside_bytes() + context_bytes +
                                loaded_program_bytes(request.gguf) + options.reserve_bytes + process_usage().rss_bytes;
  return needed_bytes <= request.budget_bytes ? Mode::kResident : Mode::kStream;
}

// `is_probed`: at all.
DiskReport measure_disk(const LoadRequest& request, bool is_probed) {
  DiskReport disk;
  disk.read_bytes = kReadBytesDefault;
  disk.depth = kReadDepthDefault;
  if (!is_probed) return disk;
  disk.direct = largest_file(request.gguf).is_direct();
  const auto probe = probe_model_disk(request.gguf, request.options.reader);
  if (!probe) return disk;
  disk.disk_bytes_per_s = probe->disk_bytes_per_s;
  disk.read_bytes = probe->read_bytes;
  disk.depth = probe->depth;
  disk.io_queue = probe->io_queue;
  return disk;
}

MachineProfile machine_by(const LoadRequest& request, const std::optional<MachineProfile>& profile,
                          const MatmulRate& compute, const DiskReport& disk) {
  const QuickFigures figures{.compute = compute,
                             .disk_bytes_per_s = disk.disk_bytes_per_s,
                             .read_bytes = disk.read_bytes,
                             .depth = disk.depth};
  return machine_of(profile, request.options.n_threads, figures, request.gguf);
}

LoadLimits limits_of(const LoadRequest& request, uint64_t held_bytes, std::optional<Mode> mode) {
  return {.budget_bytes = request.budget_bytes,
          .held_bytes = held_bytes,
          .adapter_bytes = request.adapters.bytes(),
          .projector_bytes = request.projector_bytes(),
          .mode = mode};
}

// Where nothing is planned, no speed says what a context may cost: it is the smallest that would be chosen.
Decision with_smallest_context(const LoadRequest& request, Decision decision) {
  if (request.options.n_ctx > 0) return decision;
  const uint64_t n_trained = request.gguf.n_ctx_train > 0 ? request.gguf.n_ctx_train : kContextFloor;
  decision.n_ctx_default = static_cast<uint32_t>(std::min(n_trained, kContextFloor));
  decision.context.n_ctx = std::max(decision.n_ctx_default, request.options.n_ctx_min);
  decision.n_ctx_why = "nothing was planned";
  return decision;
}

DeviceOptions planned_devices(const LoadRequest& request, const Plan& plan) {
  DeviceOptions devices = devices_of(plan, request.gguf);
  devices.worker_answer_s = request.options.devices.worker_answer_s;
  return devices;
}

Decision with_plan(const LoadRequest& request, Decision decision, Plan plan) {
  decision.other_bytes_planned =
      plan.host.kv_bytes + plan.host.compute_bytes + plan.host.program_bytes + plan.cache_bytes;
  if (request.options.n_ubatch == 0) decision.context.n_ubatch = plan.n_ubatch;
  decision.context.n_outputs = plan.n_outputs;
  decision.reserve_bytes = plan.cache_bytes;
  decision.plan = std::move(plan);
  return decision;
}

// To plan the same load again.
LoadOptions options_as_decided(const LoadRequest& request, const Decision& decision, const ContextShape& made) {
  LoadOptions options = request.options;
  options.n_ctx = decision.context.n_ctx;
  options.n_batch = made.n_batch;
  options.n_ubatch = made.n_ubatch;
  options.n_outputs = made.n_outputs;
  options.devices = decision.devices;
  options.reserve_bytes = decision.reserve_bytes;
  return options;
}

}  // namespace

Result<Measured> measure(const LoadRequest& request, Kernels kernels) {
  const LoadOptions& options = request.options;
  Measured measured;
  measured.probe = compute_probe_of(request.gguf, options.n_threads, request.budget_bytes);
  measured.probe.repacked = kernels == Kernels::kRepacked;
  measured.compute =
      options.measure_compute ? measure_compute(measured.probe) : MatmulRate{.type = dominant_type(request.gguf)};
  const uint64_t anon_bytes = process_usage().rss_anon_bytes;
  measured.held_bytes = saturating_sub(anon_bytes, kOwnAnonBytes);
  ASSIGN_OR_RETURN(measured.mode_by_size, mode_by_size(request));
  const bool may_stream = measured.mode_by_size != Mode::kResident;
  measured.disk = measure_disk(request, may_stream && (options.measure_compute || options.weights_bytes == 0));
  measured.machine = machine_by(request, options.machine, measured.compute, measured.disk);
  return measured;
}

Result<Decision> decide(const LoadRequest& request, const Measured& measured, Kernels kernels) {
  const LoadOptions& options = request.options;
  Decision decision{.mode = measured.mode_by_size,
                    .kernels = kernels,
                    .context = shape_asked(options),
                    .devices = options.devices,
                    .reserve_bytes = options.reserve_bytes};
  if (is_planned(options)) {
    auto choice =
        plan_load(request.gguf, options, measured.machine, limits_of(request, measured.held_bytes, options.mode));
    if (!choice) return Failure(choice.error().with_context(options.path));
    decision.mode = choice->plan.mode;
    decision.context.n_ctx = static_cast<uint32_t>(choice->n_ctx);
    decision.n_ctx_default = static_cast<uint32_t>(choice->n_ctx_default);
    decision.n_ctx_why = choice->why;
    decision.devices = planned_devices(request, choice->plan);
    decision = with_plan(request, std::move(decision), std::move(choice->plan));
  } else {
    decision = with_smallest_context(request, std::move(decision));
  }
  if (decision.devices.any()) decision.kernels = Kernels::kPlain;  // as planned
  decision.on_device = tensors_on_devices(request.gguf, decision.devices);
  decision.device_bytes = request.weight_bytes - host_weight_bytes(request.gguf, decision.on_device);
  return decision;
}

Result<void> check_plan(const LoadRequest& request, uint64_t held_bytes) {
  const LoadOptions& options = request.options;
  RETURN_IF_ERROR(context_bytes_min(request));
  if (!is_planned(options)) return {};
  const MachineProfile machine = machine_of(options.machine, options.n_threads, {}, request.gguf);
  const auto choice = plan_load(request.gguf, options, machine, limits_of(request, held_bytes, options.mode));
  if (!choice) return Failure(choice.error().with_context(options.path));
  return {};
}

std::optional<Decision> with_smaller_buffers(const LoadRequest& request, const Decision& decision,
                                             const ContextShape& made) {
  Decision smaller = decision;
  smaller.context = made;
  if (request.options.n_ubatch == 0)
    smaller.context.n_ubatch = std::min(made.n_ubatch, std::max(kUbatchMin, made.n_ubatch / 4));
  smaller.context.n_outputs = std::min(made.n_outputs, request.options.n_seq_max);
  smaller.reserve_bytes = 0;
  const bool is_smaller = smaller.context.n_ubatch < made.n_ubatch || smaller.context.n_outputs < made.n_outputs ||
                          decision.reserve_bytes > 0;
  return is_smaller ? std::optional(std::move(smaller)) : std::nullopt;
}

Decision resident_instead(const LoadRequest& request, const Measured& measured, const Decision& decision,
                          const ContextShape& made) {
  Decision resident = decision;
  resident.mode = Mode::kResident;
  resident.context = made;
  resident.context.n_ubatch = request.options.n_ubatch;
  if (!decision.plan) return resident;
  resident.plan.reset();
  auto again = plan_load(request.gguf, options_as_decided(request, decision, resident.context), measured.machine,
                         limits_of(request, measured.held_bytes, Mode::kResident));
  // Only one that is being loaded says anything about this run.
  if (!again || planned_devices(request, again->plan) != decision.devices) return resident;
  // It was planned as if somebody had asked for it.
  if (!request.options.mode && again->plan.n_gpu_layers == 0)
    again->plan.why = fits_words(request.weight_bytes, again->plan.host.memory_bytes);
  return with_plan(request, std::move(resident), std::move(again->plan));
}

Decision with_other_bytes(const LoadRequest& request, const Measured& measured, const Decision& decision,
                          const ContextShape& made, uint64_t other_bytes) {
  if (!decision.plan) return decision;
  LoadOptions options = options_as_decided(request, decision, made);
  options.reserve_bytes = 0;
  // What other models hold was measured too, as all that is no weight of this one.
  LoadLimits limits = limits_of(request, 0, decision.mode);
  limits.other_bytes = other_bytes;
  const auto again = plan_load(request.gguf, options, measured.machine, limits);
  Decision result = decision;
  if (again && again->plan.n_gpu_layers == decision.plan->n_gpu_layers)
    result.plan->prediction = again->plan.prediction;
  return result;
}

std::optional<LoadSamples> load_samples(const LoadRequest& request, const Measured& measured, uint64_t free_bytes) {
  const DiskReport& disk = measured.disk;
  if (disk.disk_bytes_per_s <= 0) return std::nullopt;
  LoadSamples samples{.disk = {request.gguf,
                               {.disk_bytes_per_s = disk.disk_bytes_per_s,
                                .read_bytes = disk.read_bytes,
                                .depth = disk.depth,
                                .io_queue = disk.io_queue},
                               free_bytes},
                      .compute = std::nullopt};
  const uint64_t probe_bytes = measured.probe.weights_bytes;
  if (saturating_sub(free_bytes, samples.disk.memory_bytes()) >= probe_bytes + probe_bytes / 4)
    samples.compute = ComputeSamples::open(measured.probe, measured.compute);
  return samples;
}

Measured with_samples(const LoadRequest& request, const Measured& measured, const LoadSamples& samples) {
  Measured seen = measured;
  seen.disk.disk_bytes_per_s = samples.disk.disk_bytes_per_s();
  MatmulRate compute{.type = dominant_type(request.gguf)};
  if (samples.compute) compute.decode_bytes_per_s = samples.compute->decode_bytes_per_s();
  seen.machine = machine_by(request, measured.machine, compute, seen.disk);
  return seen;
}

uint64_t host_weight_bytes(const GgufModel& gguf, const std::vector<bool>& on_device) {
  uint64_t bytes = gguf.weight_bytes();
  for (size_t t = 0; t < on_device.size(); ++t)
    if (on_device[t] && !gguf.tensors[t].unused) bytes -= gguf.tensors[t].range.bytes;
  return bytes;
}

}  // namespace spillway
