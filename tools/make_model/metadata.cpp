// SPDX-License-Identifier: MIT
#include "make_model/metadata.h"

#include <fmt/format.h>

#include "make_model/routing.h"
#include "make_model/tokenizer.h"

namespace spillway::make_model {
namespace {

constexpr uint32_t kQuantizationVersion = 2;  // GGML_QNT_VERSION: the block formats of today
constexpr uint32_t kSlidingWindow = 1024;     // gemma's; gpt-oss has 128

class Writer {
 public:
  Writer(gguf_context* gguf, const ModelSpec& spec) : gguf_(gguf), spec_(spec) {}

  void general(const TypeMix& mix) {
    gguf_set_val_str(gguf_, "general.architecture", arch_name(spec_.arch));
    gguf_set_val_str(gguf_, "general.type", "model");
    gguf_set_val_str(gguf_, "general.name", spec_.name.c_str());
    gguf_set_val_str(gguf_, "general.description", "generated weights without meaning, for tests and benchmarks");
    gguf_set_val_u32(gguf_, "general.quantization_version", kQuantizationVersion);
    gguf_set_val_u32(gguf_, "general.file_type", mix.file_type());
  }

  void hyper_parameters() {
    u32("vocab_size", spec_.vocab);
    u32("context_length", spec_.context_length);
    u32("embedding_length", spec_.embd);
    u32("block_count", spec_.layers + spec_.draft_layers);
    // llama takes the width of its experts from here, the others from expert_feed_forward_length.
    u32("feed_forward_length", spec_.is_moe() && spec_.arch == Arch::kLlama ? spec_.expert_width() : spec_.ff);
    u32("attention.head_count", spec_.heads);
    u32("attention.head_count_kv", spec_.kv_heads);
    u32("attention.key_length", wide_head_size(spec_));
    u32("attention.value_length", wide_head_size(spec_));
    u32("rope.dimension_count", spec_.arch == Arch::kGlm4Moe ? spec_.head_size() / 2 : wide_head_size(spec_));
    f32("attention.layer_norm_rms_epsilon", 1e-5f);
    f32("rope.freq_base", spec_.arch == Arch::kLlama ? 10000.0f : 1000000.0f);
    if (const auto pooling = pooling_number(spec_.pooling); pooling && *pooling > 0) u32("pooling_type", *pooling);
    if (spec_.is_moe()) experts();
    if (spec_.arch == Arch::kGemma4) gemma4();
    if (spec_.arch == Arch::kGemma3) u32("attention.sliding_window", spec_.window > 0 ? spec_.window : kSlidingWindow);
    if (spec_.arch == Arch::kGptOss) u32("attention.sliding_window", spec_.window > 0 ? spec_.window : 128);
  }

  void tokenizer() {
    if (!spec_.tokenizer) {
      gguf_set_val_str(gguf_, "tokenizer.ggml.model", "no_vocab");
      return;
    }
    const Vocabulary vocabulary = make_vocabulary(spec_.vocab, spec_.seed);
    std::vector<const char*> pieces;
    for (const std::string& piece : vocabulary.pieces) pieces.push_back(piece.c_str());
    static_assert(sizeof(TokenType) == sizeof(int32_t));
    gguf_set_val_str(gguf_, "tokenizer.ggml.model", "llama");
    gguf_set_val_str(gguf_, "tokenizer.ggml.pre", "default");
    gguf_set_arr_str(gguf_, "tokenizer.ggml.tokens", pieces.data(), pieces.size());
    gguf_set_arr_data(gguf_, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, vocabulary.scores.data(), pieces.size());
    gguf_set_arr_data(gguf_, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, vocabulary.types.data(), pieces.size());
    gguf_set_val_u32(gguf_, "tokenizer.ggml.unknown_token_id", kTokenUnknown);
    gguf_set_val_u32(gguf_, "tokenizer.ggml.bos_token_id", kTokenBos);
    gguf_set_val_u32(gguf_, "tokenizer.ggml.eos_token_id", kTokenEos);
    gguf_set_val_u32(gguf_, "tokenizer.ggml.eot_token_id", kTokenEndOfTurn);
    gguf_set_val_bool(gguf_, "tokenizer.ggml.add_bos_token", true);
    gguf_set_val_bool(gguf_, "tokenizer.ggml.add_eos_token", false);
    gguf_set_val_bool(gguf_, "tokenizer.ggml.add_space_prefix", true);
    gguf_set_val_str(gguf_, "tokenizer.chat_template", kChatTemplate);
  }

 private:
  void experts() {
    u32("expert_count", spec_.experts);
    u32("expert_used_count", spec_.experts_used);
    // For whoever drives a benchmark: ids that are equal modulo this prefer the same experts.
    if (spec_.routing == Routing::kZipf) gguf_set_val_u32(gguf_, "spillway.routing_clusters", RoutingDesign::kClusters);
    if (spec_.arch != Arch::kLlama) u32("expert_feed_forward_length", spec_.expert_width());
    if (spec_.arch == Arch::kGlm4Moe) {
      u32("expert_shared_count", 1);
      u32("expert_gating_func", 2);  // sigmoid
      u32("leading_dense_block_count", 0);
      u32("nextn_predict_layers", spec_.draft_layers);
    }
    if (spec_.arch == Arch::kQwen2Moe) {
      u32("expert_shared_feed_forward_length", spec_.shared_ff > 0 ? spec_.shared_ff : spec_.ff);
    }
  }

  void gemma4() {
    u32("attention.sliding_window", spec_.window > 0 ? spec_.window : kSlidingWindow);
    std::vector<uint8_t> slides;
    for (int64_t layer = 0; layer < spec_.layers; ++layer) slides.push_back(head_is_wide(spec_, layer) ? 0 : 1);
    gguf_set_arr_data(gguf_, key("attention.sliding_window_pattern").c_str(), GGUF_TYPE_BOOL, slides.data(),
                      slides.size());
    u32("attention.key_length_swa", spec_.head_size());
    u32("attention.value_length_swa", spec_.head_size());
    u32("rope.dimension_count_swa", spec_.head_size());
    f32("rope.freq_base_swa", 10000.0f);
    f32("final_logit_softcapping", 30.0f);
    u32("embedding_length_per_layer_input", layer_embedding_width(spec_));
  }

  std::string key(const char* name) const { return fmt::format("{}.{}", arch_name(spec_.arch), name); }
  void u32(const char* name, int64_t value) {
    gguf_set_val_u32(gguf_, key(name).c_str(), static_cast<uint32_t>(value));
  }
  void f32(const char* name, float value) { gguf_set_val_f32(gguf_, key(name).c_str(), value); }

  gguf_context* gguf_;
  const ModelSpec& spec_;
};

}  // namespace

void set_metadata(gguf_context* gguf, const ModelSpec& spec, const TypeMix& mix) {
  Writer writer(gguf, spec);
  writer.general(mix);
  writer.hyper_parameters();
  writer.tokenizer();
}

}  // namespace spillway::make_model
