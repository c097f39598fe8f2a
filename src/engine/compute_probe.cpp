// SPDX-License-Identifier: MIT
#include "engine/compute_probe.h"

#include "base/bytes.h"
#include "engine/llama_handles.h"
#include "engine/matmul_probe.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

// Enough that few caches hold it, little enough that a small budget does.
constexpr uint64_t kWeightsBytes = 64 * MiB;
constexpr double kTime_s = 0.12;

}  // namespace

ComputeProbe compute_probe_of(const GgufModel& model, unsigned n_threads) {
  return {.type = dominant_type(model),
          .n_threads = n_threads,
          .matrix_bytes = typical_matrix_bytes(model),
          .has_experts = model.n_expert > 0};
}

MatmulRate measure_compute(const ComputeProbe& probe) {
  MatmulRate rate{.type = probe.type};
  const ggml_type type = weight_type_by_name(probe.type);
  if (!start_llama() || type == GGML_TYPE_COUNT) return rate;
  const BackendPtr backend = open_cpu_backend(probe.n_threads);
  if (backend == nullptr) return rate;
  const WeightPattern weights(type);
  rate.decode_bytes_per_s = measure_decode(
      backend.get(), weights, {.weights_bytes = kWeightsBytes, .matrix_bytes = probe.matrix_bytes, .time_s = kTime_s});
  rate.prefill_flops_per_s = measure_prefill(backend.get(), weights, kTime_s);
  if (probe.has_experts) rate.expert_prefill_flops_per_s = measure_expert_prefill(backend.get(), weights, kTime_s);
  return rate;
}

}  // namespace spillway
