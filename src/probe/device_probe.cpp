// SPDX-License-Identifier: MIT
#include "probe/device_probe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "backend/llama_handles.h"
#include "backend/worker.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "hw/agreement.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "os/task_limit.h"
#include "probe/compute_probe.h"
#include "probe/matmul_probe.h"
#include "probe/repack_probe.h"

namespace spillway {
namespace {

// The most used first: the second pass goes over these alone, and a slow device may get no further.
constexpr const char* kCpuTypes[] = {"q4_K", "q8_0", "f16",  "q6_K", "mxfp4",  "q4_0",
                                     "q5_K", "bf16", "q3_K", "q2_K", "iq4_xs", "iq4_nl"};
constexpr size_t kTypesTwice = 3;
constexpr const char* kDeviceTypes[] = {"q4_K", "f16", "q8_0", "mxfp4", "q6_K", "q4_0", "q5_K", "iq4_xs"};

constexpr double kFigure_s = 0.08;  // about how long one figure is measured
constexpr double kRepacking_s = 0.04;
constexpr uint64_t kDeviceWeightsBytesMax = 256 * MiB, kUploadBytesMax = 64 * MiB, kUploadPiece = 8 * MiB;
// A worker is reached over a network, often of 1 Gbit/s: what takes a GPU a millisecond takes it a second.
constexpr uint64_t kWorkerWeightsBytesMax = 16 * MiB;

bool go_on(const ProbeProgress& progress, double fraction, const std::string& what) {
  return !progress || progress(fraction, what);
}

Failure stopped() { return error(Code::kCancelled, "measuring was stopped"); }

DeviceFacts facts_of(ggml_backend_dev_t device) {
  ggml_backend_dev_props props{};
  ggml_backend_dev_get_props(device, &props);
  DeviceFacts facts;
  facts.name = one_line(ggml_backend_dev_name(device));
  facts.description = one_line(ggml_backend_dev_description(device));
  facts.backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(device));
  facts.memory_bytes_total = props.memory_total;
  facts.memory_bytes_free = std::min(props.memory_free, props.memory_total);
  // Apple's GPUs call themselves dedicated; their memory is the machine's all the same.
  facts.shares_ram = props.type == GGML_BACKEND_DEVICE_TYPE_IGPU || facts.backend == "Metal" || facts.backend == "MTL";
  return facts;
}

// Weights can be kept there. Accelerators without memory (BLAS) work on the CPU's and come with it.
bool holds_weights(ggml_backend_dev_t device) {
  const auto type = ggml_backend_dev_type(device);
  if (type == GGML_BACKEND_DEVICE_TYPE_CPU || type == GGML_BACKEND_DEVICE_TYPE_META) return false;
  size_t free = 0, total = 0;
  ggml_backend_dev_memory(device, &free, &total);
  return total > 0;
}

// Bytes per second from the host's memory; 0 when there is no room.
double measure_upload(ggml_backend_t backend, uint64_t bytes, std::vector<std::string>& doubts) {
  const std::unique_ptr<ggml_context, void (*)(ggml_context*)> context(
      ggml_init({.mem_size = 2 * ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true}), ggml_free);
  const auto n = static_cast<int64_t>(bytes / sizeof(float));
  ggml_tensor* tensor = ggml_new_tensor_1d(context.get(), GGML_TYPE_F32, n);
  const std::unique_ptr<ggml_backend_buffer, void (*)(ggml_backend_buffer_t)> buffer(
      ggml_backend_alloc_ctx_tensors(context.get(), backend), ggml_backend_buffer_free);
  if (buffer == nullptr) return 0;
  const std::vector<std::byte> host(std::min(bytes, kUploadPiece), std::byte{1});
  const auto upload = [&] {
    const Stopwatch watch;
    for (uint64_t at = 0; at < bytes; at += host.size())
      ggml_backend_tensor_set(tensor, host.data(), at, std::min<uint64_t>(host.size(), bytes - at));
    float last = 0;  // what is read back has arrived
    ggml_backend_tensor_get(tensor, &last, bytes - sizeof last, sizeof last);
    return static_cast<double>(bytes) / watch.elapsed_s();
  };
  upload();  // pages, staging buffers
  const double first = upload(), second = upload();
  if (const auto doubt =
          doubt_between_passes("upload", first, second, "something else uses the device or the way to it"))
    doubts.push_back(*doubt);
  return std::max(first, second);
}

struct DeviceLimits {
  uint64_t weights_bytes_max = kDeviceWeightsBytesMax, upload_bytes = kUploadBytesMax;
  double time_s = 5;
};

Result<DeviceFigures> measure_open_device(ggml_backend_dev_t device, const DeviceLimits& limits,
                                          const ProbeProgress& progress) {
  const Stopwatch watch;
  DeviceFigures figures{.facts = facts_of(device), .doubts = {}};
  DeviceFacts& facts = figures.facts;
  const BackendPtr backend(ggml_backend_dev_init(device, nullptr));
  if (backend == nullptr)
    return error(Code::kInternal, fmt::format("{} ({}) can not be used", facts.name, facts.description));

  // A quarter of what is free, since somebody else may want some meanwhile.
  const uint64_t room_bytes = facts.memory_bytes_free / 4;
  if (!go_on(progress, 0, "upload")) return stopped();
  if (room_bytes >= limits.upload_bytes)
    facts.upload_bytes_per_s = measure_upload(backend.get(), limits.upload_bytes, figures.doubts);
  const uint64_t weights_bytes = std::min(limits.weights_bytes_max, room_bytes);
  std::vector<std::string> left_out;
  for (size_t i = 0; i < std::size(kDeviceTypes); ++i) {
    const char* name = kDeviceTypes[i];
    // One is measured whatever it takes: a device that starts slowly (shaders to compile, a busy machine) is a device.
    if (!facts.matmul.empty() && watch.elapsed_s() > limits.time_s) {
      left_out.emplace_back(name);
      continue;
    }
    if (!go_on(progress, static_cast<double>(i + 1) / (std::size(kDeviceTypes) + 1), name)) return stopped();
    const ggml_type type = weight_type_by_name(name);
    if (type == GGML_TYPE_COUNT) continue;
    const WeightPattern weights(type);
    MatmulRate rate{.type = name};
    rate.decode_bytes_per_s =
        measure_decode(backend.get(), weights,
                       {.weights_bytes = weights_bytes, .matrix_bytes = kMatrixBytesTypical, .time_s = kFigure_s});
    if (watch.elapsed_s() < limits.time_s)
      rate.prefill_flops_per_s = measure_prefill(backend.get(), weights, kFigure_s);
    if (watch.elapsed_s() < limits.time_s)
      rate.expert_prefill_flops_per_s = measure_expert_prefill(backend.get(), weights, kFigure_s);
    if (rate.decode_bytes_per_s > 0) facts.matmul.push_back(rate);
  }
  if (!left_out.empty())
    figures.doubts.push_back(fmt::format("not measured for want of time: {}", fmt::join(left_out, ", ")));
  if (facts.matmul.empty())
    return error(Code::kInternal,
                 fmt::format("{} ({}) multiplies none of the types that weights have", facts.name, facts.description));
  for (std::string& doubt : figures.doubts) doubt = fmt::format("{}: {}", facts.name, doubt);
  return figures;
}

// Seconds of a request that carries nothing: the best of a few.
double round_trip_s(ggml_backend_dev_t device) {
  double best = INFINITY;
  for (int i = 0; i < 8; ++i) {
    const Stopwatch watch;
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(device, &free, &total);
    best = std::min(best, watch.elapsed_s());
  }
  return best;
}

}  // namespace

Result<GgmlInventory> ggml_inventory() {
  RETURN_IF_ERROR(start_llama());
  GgmlInventory inventory{.version = fmt::format("{} ({})", ggml_version(), ggml_commit()), .devices = {}};
  for (size_t i = 0; i < ggml_backend_dev_count(); ++i)
    if (ggml_backend_dev_t device = ggml_backend_dev_get(i); holds_weights(device))
      inventory.devices.push_back(facts_of(device));
  return inventory;
}

Result<CpuFigures> measure_cpu(unsigned n_threads, double time_s, const ProbeProgress& progress) {
  const Stopwatch watch;
  RETURN_IF_ERROR(start_llama());
  RETURN_IF_ERROR(try_threads(n_threads));
  const BackendPtr backend = open_cpu_backend(n_threads);
  if (backend == nullptr) return error(Code::kUnsupported, "ggml's CPU backend can not be opened");
  CpuFigures figures;
  const uint64_t weights_bytes = probe_weights_bytes(memory_state().available_bytes);
  constexpr size_t kSteps = std::size(kCpuTypes) + kTypesTwice;
  size_t step = 0;
  double last_s = 0;  // a type takes about as long as the one before
  const auto has_time = [&] { return watch.elapsed_s() + last_s < time_s; };
  const auto measure = [&](const char* name) -> Result<MatmulRate> {
    if (!go_on(progress, static_cast<double>(step++) / kSteps, name)) return stopped();
    MatmulRate rate{.type = name};
    const ggml_type type = weight_type_by_name(name);
    if (type == GGML_TYPE_COUNT) return rate;
    const Stopwatch type_watch;
    const WeightPattern weights(type);
    rate.decode_bytes_per_s =
        measure_decode(backend.get(), weights,
                       {.weights_bytes = weights_bytes, .matrix_bytes = kMatrixBytesTypical, .time_s = kFigure_s});
    rate.prefill_flops_per_s = measure_prefill(backend.get(), weights, kFigure_s);
    rate.expert_prefill_flops_per_s = measure_expert_prefill(backend.get(), weights, kFigure_s);
    rate.repack_bytes_per_s = measure_repacking(type, kRepacking_s);
    last_s = type_watch.elapsed_s();
    return rate;
  };
  std::vector<std::string> left_out, once;
  for (const char* name : kCpuTypes) {
    // Whole or not at all: a type without a rate of repacking is one that has no such form.
    if (!figures.matmul.empty() && !has_time()) {
      left_out.emplace_back(name);
      continue;
    }
    ASSIGN_OR_RETURN(const MatmulRate rate, measure(name));
    if (rate.decode_bytes_per_s > 0) figures.matmul.push_back(rate);
  }
  // The second pass comes seconds after the first: a processor that gets hot shows it here.
  for (size_t i = 0; i < std::min(kTypesTwice, figures.matmul.size()); ++i) {
    MatmulRate& first = figures.matmul[i];
    if (!has_time()) {
      once.push_back(first.type);
      continue;
    }
    ASSIGN_OR_RETURN(const MatmulRate second, measure(first.type.c_str()));
    const char* likely = "something else uses the processor, or it slows down when it is hot";
    for (const auto& doubt : {doubt_between_passes(fmt::format("processor, decoding {}", first.type),
                                                   first.decode_bytes_per_s, second.decode_bytes_per_s, likely),
                              doubt_between_passes(fmt::format("processor, prompts in {}", first.type),
                                                   first.prefill_flops_per_s, second.prefill_flops_per_s, likely)})
      if (doubt) figures.doubts.push_back(*doubt);
    first.decode_bytes_per_s = std::max(first.decode_bytes_per_s, second.decode_bytes_per_s);
    first.prefill_flops_per_s = std::max(first.prefill_flops_per_s, second.prefill_flops_per_s);
    first.expert_prefill_flops_per_s = std::max(first.expert_prefill_flops_per_s, second.expert_prefill_flops_per_s);
    first.repack_bytes_per_s = std::max(first.repack_bytes_per_s, second.repack_bytes_per_s);
  }
  for (const auto& [what, types] : {std::pair("not measured", &left_out), std::pair("measured once only", &once)})
    if (!types->empty())
      figures.doubts.push_back(fmt::format("processor: {} for want of time: {}", what, fmt::join(*types, ", ")));
  return figures;
}

Result<DeviceFigures> measure_device(const std::string& name, double time_s, const ProbeProgress& progress) {
  RETURN_IF_ERROR(start_llama());
  ggml_backend_dev_t device = ggml_backend_dev_by_name(name.c_str());
  if (device == nullptr || !holds_weights(device))
    return error(Code::kNotFound, fmt::format("ggml finds no device {} with memory", name));
  return measure_open_device(device, {.time_s = time_s}, progress);
}

Result<WorkerFigures> measure_worker(const std::string& address, double time_s, const ProbeProgress& progress) {
  ASSIGN_OR_RETURN(const Worker worker, connect_worker(address));
  const size_t n_devices = ggml_backend_reg_dev_count(worker.registry);
  WorkerFigures figures;
  for (size_t i = 0; i < n_devices; ++i) {
    ggml_backend_dev_t device = ggml_backend_reg_dev_get(worker.registry, i);
    const double latency_s = std::min(round_trip_s(device), std::max(worker.connect_s, 1e-6));
    const DeviceLimits limits{.weights_bytes_max = kWorkerWeightsBytesMax,
                              .upload_bytes = kUploadPiece,
                              .time_s = time_s / static_cast<double>(n_devices)};
    ASSIGN_OR_RETURN(DeviceFigures device_figures, measure_open_device(device, limits, progress));
    if (worker.link != nullptr) RETURN_IF_ERROR(worker.link->check());  // or the figures are those of our own answers
    device_figures.facts.description = address;                         // ggml knows it by our relay's
    figures.workers.push_back({.address = address,
                               .link_bytes_per_s = device_figures.facts.upload_bytes_per_s,
                               .link_latency_s = latency_s,
                               .device = std::move(device_figures.facts)});
    for (std::string& doubt : device_figures.doubts) figures.doubts.push_back(fmt::format("{}, {}", address, doubt));
  }
  return figures;
}

}  // namespace spillway
