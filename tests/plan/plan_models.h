// SPDX-License-Identifier: MIT
// Models and machines as values, for tests of plans: shapes of known models without a file.
#pragma once

#include <fmt/format.h>

#include <string>

#include "base/bytes.h"
#include "hw/machine_profile.h"
#include "model/gguf_model.h"
#include "model/tensor_role.h"

namespace spillway {

struct ModelShape {
  uint64_t layers = 32, embd = 4096, ff = 14336, heads = 32, kv_heads = 8, vocab = 32000;
  uint64_t experts = 0, experts_used = 0;
  std::string type = "q4_K";
  double bits = 4.5;
};

inline const ModelShape kDense8b = {.layers = 32, .embd = 4096, .ff = 14336, .vocab = 128256};
inline const ModelShape kDense70b = {.layers = 80, .embd = 8192, .ff = 28672, .heads = 64, .vocab = 128256};
inline const ModelShape kMixtral = {.experts = 8, .experts_used = 2, .type = "q5_K", .bits = 5.5};
inline const ModelShape kMoe30b = {
    .layers = 48, .embd = 2048, .ff = 768, .kv_heads = 4, .vocab = 151936, .experts = 128, .experts_used = 8};
inline const ModelShape kMoe671b = {.layers = 58,
                                    .embd = 7168,
                                    .ff = 2048,
                                    .heads = 56,
                                    .vocab = 129280,
                                    .experts = 256,
                                    .experts_used = 8,
                                    .type = "q8_0",
                                    .bits = 8.5};

inline GgufModel make_shape(const ModelShape& shape) {
  GgufModel model;
  model.architecture = "llama";
  model.n_layer = shape.layers;
  model.n_embd = shape.embd;
  model.n_ctx_train = 131072;
  model.n_expert = shape.experts;
  model.n_expert_used = shape.experts_used;
  model.n_vocab = shape.vocab;
  model.has_output = true;
  model.numbers = {{"attention.head_count", {static_cast<int64_t>(shape.heads)}},
                   {"attention.head_count_kv", {static_cast<int64_t>(shape.kv_heads)}}};
  uint64_t offset = 1 << 20;
  const auto add = [&](const std::string& name, uint64_t columns, uint64_t rows, uint64_t slices, bool small) {
    TensorInfo tensor;
    tensor.name = name;
    tensor.type = small ? "f32" : shape.type;
    tensor.shape = {columns, rows, slices, 1};
    const double bytes = static_cast<double>(columns * rows) * (small ? 32 : shape.bits) / 8;
    tensor.range = {offset, static_cast<uint64_t>(bytes) * slices};
    tensor.layer = layer_of_tensor(name);
    tensor.role = role_of_tensor(name);
    tensor.slices = static_cast<uint32_t>(slices);
    offset = round_up(tensor.range.end(), 32);
    model.n_params += columns * rows * slices;
    model.tensors.push_back(std::move(tensor));
  };
  const uint64_t kv = shape.embd / shape.heads * shape.kv_heads;
  add("token_embd.weight", shape.embd, shape.vocab, 1, false);
  for (uint64_t l = 0; l < shape.layers; ++l) {
    const auto in_layer = [&](const char* name) { return fmt::format("blk.{}.{}", l, name); };
    add(in_layer("attn_norm.weight"), shape.embd, 1, 1, true);
    add(in_layer("attn_q.weight"), shape.embd, shape.embd, 1, false);
    add(in_layer("attn_k.weight"), shape.embd, kv, 1, false);
    add(in_layer("attn_v.weight"), shape.embd, kv, 1, false);
    add(in_layer("attn_output.weight"), shape.embd, shape.embd, 1, false);
    add(in_layer("ffn_norm.weight"), shape.embd, 1, 1, true);
    if (shape.experts > 0) {
      add(in_layer("ffn_gate_inp.weight"), shape.embd, shape.experts, 1, true);
      add(in_layer("ffn_gate_exps.weight"), shape.embd, shape.ff, shape.experts, false);
      add(in_layer("ffn_up_exps.weight"), shape.embd, shape.ff, shape.experts, false);
      add(in_layer("ffn_down_exps.weight"), shape.ff, shape.embd, shape.experts, false);
    } else {
      add(in_layer("ffn_gate.weight"), shape.embd, shape.ff, 1, false);
      add(in_layer("ffn_up.weight"), shape.embd, shape.ff, 1, false);
      add(in_layer("ffn_down.weight"), shape.ff, shape.embd, 1, false);
    }
  }
  add("output_norm.weight", shape.embd, 1, 1, true);
  add("output.weight", shape.embd, shape.vocab, 1, false);
  return model;
}

// Eight cores, 50 GB/s of weights, a disk of 5 GB/s, no GPU.
inline MachineProfile plain_machine(uint64_t ram_bytes = 32 * GiB) {
  MachineProfile machine;
  machine.name = "plain";
  machine.cores = 8;
  machine.ram_bytes_total = ram_bytes;
  machine.ram_bytes_per_s = 60e9;
  machine.matmul = {{"q4_K", 50e9, 6e11}, {"q5_K", 48e9, 5e11}, {"q8_0", 55e9, 7e11}};
  machine.disks = {{.volume = "disk",
                    .sequential_bytes_per_s = 5e9,
                    .scattered_bytes_per_s = 4e9,
                    .read_bytes = 524288,
                    .depth = 16}};
  return machine;
}

inline DeviceFacts gpu(const std::string& name, uint64_t memory_bytes, double bytes_per_s = 600e9) {
  return {.name = name,
          .description = "a GPU",
          .backend = "Test",
          .memory_bytes_total = memory_bytes,
          .memory_bytes_free = memory_bytes,
          .shares_ram = false,
          .upload_bytes_per_s = 20e9,
          .matmul = {{"q4_K", bytes_per_s, bytes_per_s * 100}}};
}

}  // namespace spillway
