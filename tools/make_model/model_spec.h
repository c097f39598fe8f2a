// SPDX-License-Identifier: MIT
// What model to make: architecture, sizes, number formats, seed. A value; everything in the file follows from it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "make_model/error.h"

namespace spillway::make_model {

enum class Arch { kLlama, kQwen2, kQwen2Moe, kQwen3Moe, kGemma3, kGptOss, kGlm4Moe, kGemma4 };

// Which experts the routers choose. kUniform: each equally often, tokens independent, the worst case for a cache.
// kZipf: a few experts often, as in real models (routing.h says how close).
enum class Routing { kUniform, kZipf };

struct ModelSpec {
  Arch arch = Arch::kLlama;
  std::string name = "spillway-generated";
  int64_t layers = 4;
  int64_t embd = 256;
  int64_t ff = 512;  // of the dense FFN; of an expert where expert_ff is 0
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 0;  // 0: embd / heads
  int64_t vocab = 1024;
  int64_t experts = 0;  // 0: dense
  int64_t experts_used = 2;
  int64_t expert_ff = 0;
  int64_t shared_ff = 0;     // shared expert of qwen2moe; 0: ff
  int64_t draft_layers = 0;  // of glm4moe: predict tokens behind the next one, and decoding does not use them
  int64_t context_length = 8192;
  int64_t window = 0;  // of the layers that slide (gemma3, gemma4, gpt-oss); 0: as the known models have it
  std::string type = "Q4_K";
  std::string type_down = {};  // of the FFN's down matrices; empty: as `type` says
  Routing routing = Routing::kZipf;
  std::string pooling = {};  // of embedding models: mean, cls, last, rank; empty: a model that writes text
  bool tokenizer = true;
  uint64_t seed = 1;

  int64_t head_size() const { return head_dim > 0 ? head_dim : embd / heads; }
  int64_t expert_width() const { return expert_ff > 0 ? expert_ff : ff; }
  bool is_moe() const { return experts > 0; }
};

// gemma4's heads: those of every sixth layer see all of the text and are twice as wide, the others slide.
inline bool head_is_wide(const ModelSpec& spec, int64_t layer) { return spec.arch == Arch::kGemma4 && layer % 6 == 5; }
inline int64_t wide_head_size(const ModelSpec& spec) {
  return spec.arch == Arch::kGemma4 ? 2 * spec.head_size() : spec.head_size();
}
// Of what a token brings for each layer, where gemma4 is dense.
inline int64_t layer_embedding_width(const ModelSpec& spec) {
  return spec.arch == Arch::kGemma4 && !spec.is_moe() ? 256 : 0;
}

const char* arch_name(Arch arch);  // as in general.architecture
Expected<Arch> parse_arch(std::string_view name);
std::vector<std::string> arch_names();

// libllama's number of a way to pool; 0 where none is named.
Expected<uint32_t> pooling_number(std::string_view name);

// Fails, naming the option, when libllama would refuse or misread the model.
Expected<void> validate(const ModelSpec& spec);

}  // namespace spillway::make_model
