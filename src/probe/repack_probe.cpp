// SPDX-License-Identifier: MIT
#include "probe/repack_probe.h"

#include <ggml-backend.h>

#include <algorithm>
#include <vector>

#include "backend/extra_buffers.h"
#include "backend/ggml_handles.h"
#include "base/bytes.h"
#include "os/machine.h"
#include "os/memory.h"
#include "probe/matmul_probe.h"

namespace spillway {
namespace {

// A part of a slice, as it is staged. All parts together are more than caches hold; what was just read lies in memory,
// too.
constexpr uint64_t kPartBytes = 1 * MiB;
constexpr int kParts = 64, kStagedParts = 16;

// Where libllama would put such a matrix; nullptr: where plain ones are.
ggml_backend_buffer_type_t form_of(ggml_type type, int64_t rows) {
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return nullptr;
  const ContextPtr context(
      ggml_init({.mem_size = 4 * ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true}));
  ggml_tensor* matrix = ggml_new_tensor_2d(context.get(), type, WeightPattern::kColumns, rows);
  ggml_tensor* input = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, WeightPattern::kColumns, kTokensAsked);
  ggml_tensor* product = ggml_mul_mat(context.get(), matrix, input);
  return extra_buffer_type(device, product);
}

}  // namespace

double measure_repacking(ggml_type type, double time_s) {
  const WeightPattern pattern(type);
  const auto rows = static_cast<int64_t>(
      std::max<uint64_t>(round_down(kPartBytes / pattern.row_bytes(), kRowsOfGroup), kRowsOfGroup));
  ggml_backend_buffer_type_t form = form_of(type, rows);
  if (form == nullptr) return 0;
  const ContextPtr context(
      ggml_init({.mem_size = (kParts + 1) * ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true}));
  std::vector<ggml_tensor*> parts;
  for (int i = 0; i < kParts; ++i)
    parts.push_back(ggml_new_tensor_2d(context.get(), type, WeightPattern::kColumns, rows));
  const BufferPtr buffer(ggml_backend_alloc_ctx_tensors_from_buft(context.get(), form));
  // Without something of its own it has no other kernels for the type: see RepackedForms::find().
  if (buffer == nullptr || parts.front()->extra == nullptr) return 0;
  prefer_huge_pages(ggml_backend_buffer_get_base(buffer.get()), ggml_backend_buffer_get_size(buffer.get()));

  const uint64_t part_bytes = ggml_nbytes(parts.front());
  std::vector<std::byte> staged(part_bytes * kStagedParts);
  for (size_t at = 0; at < staged.size(); at += pattern.bytes().size())
    std::copy_n(pattern.bytes().begin(), std::min(pattern.bytes().size(), staged.size() - at),
                staged.begin() + static_cast<std::ptrdiff_t>(at));
  size_t next = 0;
  const auto put = [&] {
    ggml_backend_tensor_set(parts[next % kParts], staged.data() + next % kStagedParts * part_bytes, 0, part_bytes);
    ++next;
  };
  // Its pages are there afterwards.
  while (next < kParts) put();
  const double began_s = thread_cpu_s();
  double cpu_s = 0;
  do {
    put();
    cpu_s = thread_cpu_s() - began_s;
  } while (cpu_s < time_s);
  return static_cast<double>((next - kParts) * part_bytes) / cpu_s;
}

}  // namespace spillway
