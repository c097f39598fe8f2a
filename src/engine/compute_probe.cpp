// SPDX-License-Identifier: MIT
#include "engine/compute_probe.h"

#include "base/bytes.h"
#include "engine/llama_handles.h"
#include "engine/matmul_probe.h"

namespace spillway {
namespace {

// Enough that few caches hold it, little enough that a small budget does.
constexpr uint64_t kWeightsBytes = 64 * MiB;
constexpr double kTime_s = 0.12;

}  // namespace

double measure_compute_bytes_per_s(const std::string& type_name, unsigned n_threads, uint64_t matrix_bytes) {
  const ggml_type type = weight_type_by_name(type_name);
  if (!start_llama() || type == GGML_TYPE_COUNT) return 0;
  const BackendPtr backend = open_cpu_backend(n_threads);
  if (backend == nullptr) return 0;
  return measure_decode(backend.get(), WeightPattern(type),
                        {.weights_bytes = kWeightsBytes, .matrix_bytes = matrix_bytes, .time_s = kTime_s});
}

}  // namespace spillway
