// SPDX-License-Identifier: MIT
// Models with an encoder: those of llama.cpp's own test program have none.
#include <ggml.h>
#include <gguf.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/verify.h"

namespace spillway {
namespace {

constexpr uint32_t kWidth = 64, kFeedForward = 128, kLayers = 2, kHeads = 4, kContext = 64, kVocabulary = 300;

// Of random weights, without a tokenizer. Written when the object goes.
class ModelWriter {
 public:
  ModelWriter(std::string path, const std::string& architecture, uint64_t seed)
      : path_(std::move(path)), prefix_(architecture + "."), random_(seed) {
    gguf_set_val_str(gguf_.get(), "general.architecture", architecture.c_str());
    gguf_set_val_str(gguf_.get(), "tokenizer.ggml.model", "none");
    gguf_set_val_u32(gguf_.get(), "tokenizer.ggml.token_type_count", 2);
    for (const auto& [key, value] :
         std::initializer_list<std::pair<const char*, uint32_t>>{{"vocab_size", kVocabulary},
                                                                 {"context_length", kContext},
                                                                 {"embedding_length", kWidth},
                                                                 {"feed_forward_length", kFeedForward},
                                                                 {"block_count", kLayers},
                                                                 {"attention.head_count", kHeads}})
      figure(key, value);
  }
  ~ModelWriter() { gguf_write_to_file(gguf_.get(), path_.c_str(), false); }
  ModelWriter(const ModelWriter&) = delete;
  ModelWriter& operator=(const ModelWriter&) = delete;

  void figure(const std::string& key, uint32_t value) { gguf_set_val_u32(gguf_.get(), (prefix_ + key).c_str(), value); }
  void small_figure(const std::string& key) { gguf_set_val_f32(gguf_.get(), (prefix_ + key).c_str(), 1e-6f); }
  void no(const std::string& key) { gguf_set_val_bool(gguf_.get(), (prefix_ + key).c_str(), false); }

  void matrix(const std::string& name, int64_t n_in, int64_t n_out) { fill(name, n_in, n_out, 0); }
  void norm(const std::string& name) { fill(name, kWidth, 1, 1); }
  void bias(const std::string& name, int64_t n) { fill(name, n, 1, 0); }

 private:
  void fill(const std::string& name, int64_t n_in, int64_t n_out, float middle) {
    ggml_tensor* tensor = n_out == 1 ? ggml_new_tensor_1d(context_.get(), GGML_TYPE_F32, n_in)
                                     : ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, n_in, n_out);
    std::uniform_real_distribution<float> any(-0.1f, 0.1f);
    auto* values = static_cast<float*>(tensor->data);
    for (int64_t i = 0; i < n_in * n_out; ++i) values[i] = middle + any(random_);
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(gguf_.get(), tensor);
  }

  std::string path_, prefix_;
  std::unique_ptr<ggml_context, void (*)(ggml_context*)> context_{
      ggml_init({.mem_size = 8 << 20, .mem_buffer = nullptr, .no_alloc = false}), ggml_free};
  std::unique_ptr<gguf_context, void (*)(gguf_context*)> gguf_{gguf_init_empty(), gguf_free};
  std::mt19937_64 random_;
};

std::string path_of(const std::string& name) { return (std::filesystem::path(testing::TempDir()) / name).string(); }

std::string t5() {
  std::string path = path_of("t5.gguf");
  ModelWriter model(path, "t5", 1);
  model.figure("attention.key_length", kWidth / kHeads);
  model.figure("attention.value_length", kWidth / kHeads);
  model.figure("attention.relative_buckets_count", 32);
  model.figure("decoder_start_token_id", 0);
  model.small_figure("attention.layer_norm_rms_epsilon");
  model.small_figure("attention.layer_norm_epsilon");
  model.matrix("token_embd.weight", kWidth, kVocabulary);
  for (const std::string side : {"enc.", "dec."}) {
    model.norm(side + "output_norm.weight");
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::string block = side + "blk." + std::to_string(layer) + ".";
      if (layer == 0) model.matrix(block + "attn_rel_b.weight", kHeads, 32);
      for (const std::string attention : {"attn", "cross_attn"}) {
        if (side == "enc." && attention == "cross_attn") continue;
        model.norm(block + attention + "_norm.weight");
        for (const char* part : {"_q", "_k", "_v", "_o"})
          model.matrix(block + attention + part + ".weight", kWidth, kWidth);
      }
      model.norm(block + "ffn_norm.weight");
      model.matrix(block + "ffn_up.weight", kWidth, kFeedForward);
      model.matrix(block + "ffn_down.weight", kFeedForward, kWidth);
    }
  }
  return path;
}

// `pooling`: of libllama's numbers, 0 for none, 1 for the mean, 2 for the first token. `n_said`: numbers that it says
// an embedding has, where that is another number than it has.
std::string bert(uint32_t pooling, uint64_t seed, uint32_t n_said = 0) {
  std::string path = path_of("bert.gguf");
  ModelWriter model(path, "bert", seed);
  model.figure("pooling_type", pooling);
  if (n_said > 0) model.figure("embedding_length_out", n_said);
  model.small_figure("attention.layer_norm_epsilon");
  model.no("attention.causal");
  model.matrix("token_embd.weight", kWidth, kVocabulary);
  model.matrix("position_embd.weight", kWidth, kContext);
  model.matrix("token_types.weight", kWidth, 2);
  model.norm("token_embd_norm.weight");
  model.bias("token_embd_norm.bias", kWidth);
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
      model.matrix(block + part + ".weight", kWidth, kWidth);
      model.bias(block + part + ".bias", kWidth);
    }
    for (const char* part : {"attn_output_norm", "layer_output_norm"}) {
      model.norm(block + part + ".weight");
      model.bias(block + part + ".bias", kWidth);
    }
    model.matrix(block + "ffn_up.weight", kWidth, kFeedForward);
    model.bias(block + "ffn_up.bias", kFeedForward);
    model.matrix(block + "ffn_down.weight", kFeedForward, kWidth);
    model.bias(block + "ffn_down.bias", kWidth);
  }
  return path;
}

VerifyReport verified(const std::string& path) {
  VerifyOptions options;
  options.path = path;
  options.weights_bytes = std::filesystem::file_size(path) / 10 * 9;
  options.kernels = Kernels::kPlain;
  options.n_threads = 2;
  options.n_prompt = 16;
  options.n_decode = 4;
  options.extent_bytes_min = kPageBytes;
  const auto report = verify(options);
  std::filesystem::remove(path);
  EXPECT_TRUE(report) << (report ? "" : report.error().message());
  return report ? *report : VerifyReport{};
}

TEST(Encoder, AModelWithADecoderTooIsStreamedAndGivesWhatLibllamaGives) {
  const VerifyReport report = verified(t5());
  EXPECT_TRUE(report.exact) << report.first_difference;
  EXPECT_GT(report.outputs_compared, 16u) << "the decoder's too";
}

std::unique_ptr<Engine> loaded(const std::string& path) {
  LoadOptions options;
  options.path = path;
  options.mode = Mode::kResident;
  options.n_threads = 2;
  options.measure_compute = false;
  options.keep_heat = false;
  auto engine = Engine::load(options);
  std::filesystem::remove(path);
  EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
  return engine ? std::move(*engine) : nullptr;
}

TEST(Encoder, AnEmbeddingOfMoreNumbersThanTheModelMakesIsRefused) {
  const std::vector<TokenId> text = {5, 6, 7};
  for (const uint32_t pooling : {0u, 1u, 2u}) {
    const auto engine = loaded(bert(pooling, 1, 100'000));
    ASSERT_NE(engine, nullptr);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(engine->embed(text).error().code(), Code::kUnsupported);
  }
  const auto engine = loaded(bert(1, 1, kWidth / 2));
  ASSERT_NE(engine, nullptr);
  const auto fewer = engine->embed(text);
  ASSERT_TRUE(fewer) << fewer.error().message();
  EXPECT_EQ(fewer->size(), kWidth / 2);
}

TEST(Encoder, ADecoderThatWantsAnEncodersOutputMakesNoEmbedding) {
  const auto engine = loaded(t5());
  ASSERT_NE(engine, nullptr);
  const auto embedding = engine->embed(std::vector<TokenId>{5, 6, 7});
  ASSERT_FALSE(embedding);
  EXPECT_EQ(embedding.error().code(), Code::kUnsupported) << embedding.error().message();
}

TEST(Encoder, PooledEmbeddingsThatAreComparedAreThoseOfTheModel) {
  for (const uint32_t pooling : {0u, 1u, 2u}) {
    const VerifyReport one = verified(bert(pooling, 1)), other = verified(bert(pooling, 2));
    EXPECT_TRUE(one.exact && other.exact) << one.first_difference << other.first_difference;
    EXPECT_NE(one.logits_hash, other.logits_hash) << "pooling " << pooling << ": other weights, other outputs";
  }
}

}  // namespace
}  // namespace spillway
