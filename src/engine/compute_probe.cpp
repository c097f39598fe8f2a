// SPDX-License-Identifier: MIT
#include "engine/compute_probe.h"

#include <algorithm>

#include "base/bytes.h"
#include "engine/llama_handles.h"
#include "engine/matmul_probe.h"
#include "os/machine.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

constexpr uint64_t kWeightsBytesMin = 64 * MiB, kWeightsBytesMax = 512 * MiB;
constexpr uint64_t kModelBytesMin = 16 * MiB;  // less is over before its time can be taken
constexpr uint64_t kCachesMultiple = 8, kMemoryShare = 8;
constexpr double kDecode_s = 0.2, kPrefill_s = 0.12;

}  // namespace

uint64_t probe_weights_bytes(uint64_t memory_bytes) {
  const uint64_t wanted = std::min(kCachesMultiple * last_level_cache_bytes(), kWeightsBytesMax);
  return std::max(std::min(wanted, memory_bytes / kMemoryShare), kWeightsBytesMin);
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
  if (!start_llama() || type == GGML_TYPE_COUNT) return rate;
  const BackendPtr backend = open_cpu_backend(probe.n_threads);
  if (backend == nullptr) return rate;
  const WeightPattern weights(type);
  rate.decode_bytes_per_s = measure_decode(backend.get(), weights,
                                           {.weights_bytes = std::max(probe.weights_bytes, kModelBytesMin),
                                            .matrix_bytes = probe.matrix_bytes,
                                            .time_s = kDecode_s});
  rate.prefill_flops_per_s = measure_prefill(backend.get(), weights, kPrefill_s);
  if (probe.has_experts) rate.expert_prefill_flops_per_s = measure_expert_prefill(backend.get(), weights, kPrefill_s);
  return rate;
}

}  // namespace spillway
