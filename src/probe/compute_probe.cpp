// SPDX-License-Identifier: MIT
#include "probe/compute_probe.h"

#include <algorithm>
#include <utility>

#include "backend/llama_handles.h"
#include "base/bytes.h"
#include "base/median.h"
#include "os/machine.h"
#include "os/task_limit.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

constexpr uint64_t kWeightsBytesMin = 64 * MiB, kWeightsBytesMax = 512 * MiB;
constexpr uint64_t kModelBytesMin = 16 * MiB;  // less is over before its time can be taken
constexpr uint64_t kCachesMultiple = 8, kMemoryShare = 8;
// A container of less is not measured: the kernel would end us without a word. Buffers take some 30 MiB beside weights.
constexpr uint64_t kScarceBytes = 64 * MiB, kScarceShare = 4;
constexpr double kDecode_s = 0.2, kPrefill_s = 0.12, kSample_s = 0.03;

DecodeProbeOptions decode_options(const ComputeProbe& probe, double time_s) {
  return {.weights_bytes = std::max(probe.weights_bytes, kModelBytesMin),
          .matrix_bytes = probe.matrix_bytes,
          .time_s = time_s};
}

}  // namespace

uint64_t probe_weights_bytes(uint64_t memory_bytes) {
  const uint64_t wanted = std::min(kCachesMultiple * last_level_cache_bytes(), kWeightsBytesMax);
  return std::max(std::min(wanted, memory_bytes / kMemoryShare),
                  std::min(kWeightsBytesMin, memory_bytes / kScarceShare));
}

ComputeProbe compute_probe_of(const GgufModel& model, unsigned n_threads, uint64_t memory_bytes) {
  return {.type = dominant_type(model),
          .n_threads = n_threads,
          .matrix_bytes = typical_matrix_bytes(model),
          // A small model's weights stay in the caches as they would here.
          .weights_bytes = std::min(probe_weights_bytes(memory_bytes), model.weight_bytes()),
          .has_experts = model.n_expert > 0};
}

MatmulRate measure_compute(const ComputeProbe& probe) {
  MatmulRate rate{.type = probe.type};
  const ggml_type type = weight_type_by_name(probe.type);
  if (!start_llama() || !try_threads(probe.n_threads) || type == GGML_TYPE_COUNT) return rate;
  if (memory_state().available_bytes < kScarceBytes) return rate;
  const BackendPtr backend = open_cpu_backend(probe.n_threads);
  if (backend == nullptr) return rate;
  const WeightPattern weights(type, probe.repacked);
  rate.decode_bytes_per_s = measure_decode(backend.get(), weights, decode_options(probe, kDecode_s));
  rate.prefill_flops_per_s = measure_prefill(backend.get(), weights, kPrefill_s);
  if (probe.has_experts) rate.expert_prefill_flops_per_s = measure_expert_prefill(backend.get(), weights, kPrefill_s);
  return rate;
}

ComputeSamples::ComputeSamples(BackendPtr backend, MatmulProbe probe, double probed_bytes_per_s)
    : backend_(std::move(backend)), probe_(std::move(probe)), rates_{probed_bytes_per_s} {}

std::optional<ComputeSamples> ComputeSamples::open(const ComputeProbe& probe, const MatmulRate& probed) {
  const ggml_type type = weight_type_by_name(probe.type);
  if (probed.decode_bytes_per_s <= 0 || type == GGML_TYPE_COUNT) return std::nullopt;
  BackendPtr backend = open_cpu_backend(probe.n_threads);
  if (backend == nullptr) return std::nullopt;
  auto decode =
      build_decode_probe(backend.get(), WeightPattern(type, probe.repacked), decode_options(probe, kSample_s));
  if (!decode) return std::nullopt;
  return ComputeSamples(std::move(backend), *std::move(decode), probed.decode_bytes_per_s);
}

void ComputeSamples::take_sample() {
  const std::optional<double> seconds = probe_.typical_seconds(kSample_s);
  if (seconds) rates_.push_back(probe_.weight_bytes() / *seconds);
}

double ComputeSamples::decode_bytes_per_s() const { return median(rates_); }

}  // namespace spillway
