// SPDX-License-Identifier: MIT
#include "engine/compute_probe.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "engine/llama_handles.h"

namespace spillway {
namespace {

// Enough that no cache holds it, little enough that a small budget does.
constexpr uint64_t kMatrixBytes = 8 * MiB;
constexpr int kMatrices = 8;
constexpr int kColumns = 4096;

ggml_type type_by_name(const std::string& name) {
  for (int t = 0; t < GGML_TYPE_COUNT; ++t) {
    const char* candidate = ggml_type_name(static_cast<ggml_type>(t));
    if (candidate != nullptr && name == candidate) return static_cast<ggml_type>(t);
  }
  return GGML_TYPE_COUNT;
}

}  // namespace

double measure_compute_bytes_per_s(const std::string& type_name, unsigned n_threads) {
  const ggml_type type = type_by_name(type_name);
  if (!start_llama() || type == GGML_TYPE_COUNT) return 0;
  std::unique_ptr<ggml_backend, void (*)(ggml_backend_t)> backend(
      ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr), ggml_backend_free);
  if (backend == nullptr) return 0;
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend.get()));
  if (auto* set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
          ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads")))
    set_threads(backend.get(), static_cast<int>(n_threads));

  std::unique_ptr<ggml_context, void (*)(ggml_context*)> context(
      ggml_init(
          {.mem_size = ggml_tensor_overhead() * 64 + ggml_graph_overhead(), .mem_buffer = nullptr, .no_alloc = true}),
      ggml_free);
  const auto rows = static_cast<int64_t>(kMatrixBytes / ggml_row_size(type, kColumns));
  ggml_tensor* input = ggml_new_tensor_1d(context.get(), GGML_TYPE_F32, kColumns);
  std::vector<ggml_tensor*> matrices;
  ggml_cgraph* graph = ggml_new_graph(context.get());
  for (int m = 0; m < kMatrices; ++m) {
    matrices.push_back(ggml_new_tensor_2d(context.get(), type, kColumns, rows));
    ggml_build_forward_expand(graph, ggml_mul_mat(context.get(), matrices.back(), input));
  }
  std::unique_ptr<ggml_backend_buffer, void (*)(ggml_backend_buffer_t)> buffer(
      ggml_backend_alloc_ctx_tensors(context.get(), backend.get()), ggml_backend_buffer_free);
  if (buffer == nullptr) return 0;
  ggml_backend_buffer_clear(buffer.get(), 0);

  double best_bytes_per_s = 0;
  for (int round = 0; round < 4; ++round) {
    const Stopwatch watch;
    if (ggml_backend_graph_compute(backend.get(), graph) != GGML_STATUS_SUCCESS) return 0;
    const auto bytes = static_cast<double>(kMatrices * ggml_nbytes(matrices[0]));
    if (round > 0) best_bytes_per_s = std::max(best_bytes_per_s, bytes / watch.elapsed_s());  // the first one warms up
  }
  return best_bytes_per_s;
}

}  // namespace spillway
