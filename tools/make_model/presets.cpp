// SPDX-License-Identifier: MIT
#include "make_model/presets.h"

#include <fmt/format.h>

namespace spillway::make_model {
namespace {

// Tiny ones keep embd at 256: one block of the K-quants.
const std::vector<Preset>& table() {
  static const std::vector<Preset> presets = {
      {"tiny-dense", "llama, dense", {.arch = Arch::kLlama}},
      {"tiny-moe", "llama, 8 experts, 2 used", {.arch = Arch::kLlama, .experts = 8}},
      {"tiny-qwen2", "qwen2: biases", {.arch = Arch::kQwen2}},
      {"tiny-qwen2moe",
       "qwen2moe: 16 small experts, 4 used, and a shared one",
       {.arch = Arch::kQwen2Moe, .experts = 16, .experts_used = 4, .expert_ff = 256}},
      {"tiny-qwen3moe",
       "qwen3moe: 32 small experts, 8 used, q/k norms",
       {.arch = Arch::kQwen3Moe, .experts = 32, .experts_used = 8, .expert_ff = 256}},
      {"tiny-gemma3", "gemma3: tied embeddings, sliding window", {.arch = Arch::kGemma3, .layers = 6}},
      {"tiny-gpt-oss",
       "gpt-oss: MXFP4 experts, biases, sinks",
       {.arch = Arch::kGptOss, .experts = 16, .experts_used = 4, .expert_ff = 256, .type = "MXFP4_MOE"}},
      {"tiny-glm4moe",
       "glm4moe: 16 small experts, 2 used, a shared one, and two layers that draft tokens",
       {.arch = Arch::kGlm4Moe, .experts = 16, .experts_used = 2, .expert_ff = 256, .draft_layers = 2}},
      {"tiny-gemma4",
       "gemma4: 16 small experts, 4 used, gate and up in one, beside a dense FFN; every sixth head twice as wide",
       {.arch = Arch::kGemma4, .layers = 6, .experts = 16, .experts_used = 4, .expert_ff = 256}},
      {"tiny-gemma4-dense",
       "gemma4, dense: tokens have an embedding for each layer",
       {.arch = Arch::kGemma4, .layers = 6}},
      {"demo",
       "llama MoE for trying things out",
       {.layers = 18, .embd = 2048, .ff = 5632, .heads = 16, .kv_heads = 4, .vocab = 32000, .experts = 8}},
      {"bench-moe",
       "llama MoE, few large experts",
       {.layers = 24, .embd = 2048, .ff = 7168, .heads = 16, .kv_heads = 4, .vocab = 32000, .experts = 8}},
      {"bench-dense",
       "llama 7B shape with 8 kv heads",
       {.layers = 32, .embd = 4096, .ff = 14336, .heads = 32, .kv_heads = 8, .vocab = 32000}},
      {"bench-qwen3moe",
       "qwen3moe, a third of Qwen3-30B-A3B's layers: many small experts",
       {.arch = Arch::kQwen3Moe,
        .layers = 16,
        .embd = 2048,
        .ff = 6144,
        .heads = 32,
        .kv_heads = 4,
        .head_dim = 128,
        .vocab = 32000,
        .experts = 128,
        .experts_used = 8,
        .expert_ff = 768,
        .context_length = 32768}},
      {"qwen3-30b-a3b",
       "the shape of Qwen3-30B-A3B",
       {.arch = Arch::kQwen3Moe,
        .layers = 48,
        .embd = 2048,
        .ff = 6144,
        .heads = 32,
        .kv_heads = 4,
        .head_dim = 128,
        .vocab = 151936,
        .experts = 128,
        .experts_used = 8,
        .expert_ff = 768,
        .context_length = 40960}},
      {"mixtral-8x7b",
       "the shape of Mixtral 8x7B",
       {.layers = 32,
        .embd = 4096,
        .ff = 14336,
        .heads = 32,
        .kv_heads = 8,
        .vocab = 32000,
        .experts = 8,
        .context_length = 32768}},
      {"gpt-oss-120b",
       "the shape of gpt-oss-120b",
       {.arch = Arch::kGptOss,
        .layers = 36,
        .embd = 2880,
        .ff = 2880,
        .heads = 64,
        .kv_heads = 8,
        .head_dim = 64,
        .vocab = 201088,
        .experts = 128,
        .experts_used = 4,
        .expert_ff = 2880,
        .context_length = 131072,
        .type = "MXFP4_MOE"}},
      {"moe-671b",
       "about DeepSeek V3's size: 256 experts, 8 used; for plans (--sparse)",
       {.arch = Arch::kQwen3Moe,
        .layers = 58,
        .embd = 7168,
        .ff = 18432,
        .heads = 64,
        .kv_heads = 8,
        .head_dim = 128,
        .vocab = 129280,
        .experts = 256,
        .experts_used = 8,
        .expert_ff = 2048,
        .context_length = 131072,
        .type = "Q8_0"}},
      {"moe-1t",
       "a trillion parameters: 61 layers of 384 experts, 8 used; for plans (--sparse)",
       {.arch = Arch::kQwen3Moe,
        .layers = 61,
        .embd = 7168,
        .ff = 18432,
        .heads = 64,
        .kv_heads = 8,
        .head_dim = 128,
        .vocab = 163840,
        .experts = 384,
        .experts_used = 8,
        .expert_ff = 2048,
        .context_length = 131072,
        .type = "Q4_K_M"}},
      {"llama-70b",
       "the shape of Llama 3 70B",
       {.layers = 80, .embd = 8192, .ff = 28672, .heads = 64, .kv_heads = 8, .vocab = 128256, .type = "Q4_K_M"}},
  };
  return presets;
}

}  // namespace

std::span<const Preset> presets() { return table(); }

Expected<ModelSpec> find_preset(std::string_view name) {
  for (const Preset& preset : presets()) {
    if (name != preset.name) continue;
    ModelSpec spec = preset.spec;
    spec.name = fmt::format("spillway-{}", name);
    return spec;
  }
  return failure(fmt::format("--preset {}: no such preset (--list shows them)", name));
}

}  // namespace spillway::make_model
