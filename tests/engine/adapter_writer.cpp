// SPDX-License-Identifier: MIT
#include "engine/adapter_writer.h"

#include <ggml.h>

#include <memory>
#include <random>

namespace spillway {
namespace {

constexpr const char* kEmbedding = "token_embd.weight";
constexpr float kSize = 0.1f;  // of the largest value: the product of both halves is felt, and nothing overflows

bool is_matrix(const GgufModel& model, const TensorInfo& tensor) {
  if (tensor.name == kEmbedding) return model.has_output;
  return tensor.name.ends_with(".weight") && tensor.shape[1] > 1 && tensor.shape[3] == 1;
}

struct Writer {
  Writer(uint64_t bytes, uint64_t seed)
      : context(ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = false}), ggml_free),
        gguf(gguf_init_empty(), gguf_free),
        random(seed) {}

  void add(const std::string& name, uint64_t n_in, uint64_t n_out, uint64_t n_slices) {
    ggml_tensor* tensor = ggml_new_tensor_3d(context.get(), GGML_TYPE_F32, static_cast<int64_t>(n_in),
                                             static_cast<int64_t>(n_out), static_cast<int64_t>(n_slices));
    auto* values = static_cast<float*>(tensor->data);
    std::uniform_real_distribution<float> any(-kSize, kSize);
    for (uint64_t i = 0; i < n_in * n_out * n_slices; ++i) values[i] = any(random);
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(gguf.get(), tensor);
  }

  std::unique_ptr<ggml_context, void (*)(ggml_context*)> context;
  std::unique_ptr<gguf_context, void (*)(gguf_context*)> gguf;
  std::mt19937_64 random;
};

}  // namespace

bool write_adapter(const GgufModel& model, const std::string& path, const AdapterSpec& spec) {
  uint64_t bytes = 1 << 16;
  for (const TensorInfo& tensor : model.tensors)
    bytes +=
        (tensor.shape[0] + tensor.shape[1]) * tensor.shape[2] * spec.rank * sizeof(float) + 4 * ggml_tensor_overhead();
  Writer writer(bytes, spec.seed);
  gguf_set_val_str(writer.gguf.get(), "general.type", "adapter");
  gguf_set_val_str(writer.gguf.get(), "general.architecture",
                   spec.architecture.empty() ? model.architecture.c_str() : spec.architecture.c_str());
  gguf_set_val_str(writer.gguf.get(), "adapter.type", "lora");
  gguf_set_val_f32(writer.gguf.get(), "adapter.lora.alpha", spec.alpha);
  if (spec.change_keys) spec.change_keys(writer.gguf.get());
  for (const TensorInfo& tensor : model.tensors) {
    if (!is_matrix(model, tensor) || (spec.changes && !spec.changes(tensor))) continue;
    const auto [n_in, n_out, n_slices, one] = tensor.shape;
    if (tensor.name == kEmbedding) {  // rows of it are looked up
      writer.add(tensor.name + ".lora_a", spec.rank, n_out, 1);
      writer.add(tensor.name + ".lora_b", spec.rank, n_in, 1);
      continue;
    }
    writer.add(tensor.name + ".lora_a", n_in, spec.rank, n_slices);
    writer.add(tensor.name + ".lora_b", spec.rank, n_out, n_slices);
  }
  return gguf_write_to_file(writer.gguf.get(), path.c_str(), false);
}

}  // namespace spillway
