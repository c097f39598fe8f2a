// SPDX-License-Identifier: MIT
// Files whose figures do not go together: libllama and ggml end the process at them, on the way of a load or in the
// middle of a pass. Each fails its own load or request; that this program lives on is the test.
#include <ggml.h>
#include <gguf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "engine/adapter_writer.h"
#include "engine/engine.h"
#include "exactness/changed_model.h"
#include "model/gguf_model.h"
#include "os/temp_folder.h"

namespace spillway {
namespace {

using testing::HasSubstr;

const std::string kModels = SPILLWAY_TEST_MODELS;
const std::string kBrook = SPILLWAY_BROOK;

LoadOptions options_for(const std::string& path, Mode mode) {
  LoadOptions options;
  options.path = path;
  options.mode = mode;
  options.kernels = Kernels::kPlain;
  if (mode == Mode::kStream) options.weights_bytes = std::filesystem::file_size(path) / 2;
  options.n_ctx = 256;
  options.n_ubatch = 64;
  options.n_threads = 2;
  options.extent_bytes_min = kPageBytes;
  options.measure_compute = false;
  options.keep_heat = false;
  return options;
}

// What each mode says about it; "ok" for one that loads it.
std::vector<std::string> refusals(const std::string& of, const ModelChange& change) {
  const ChangedModel model(of, change);
  std::vector<std::string> all;
  for (const Mode mode : {Mode::kStream, Mode::kResident, Mode::kMmap}) {
    const auto engine = Engine::load(options_for(model.path(), mode));
    all.push_back(engine ? "ok" : std::string(code_name(engine.error().code())) + ": " + engine.error().message());
  }
  return all;
}

std::unique_ptr<Engine> load(const std::string& path, Mode mode) {
  auto engine = Engine::load(options_for(path, mode));
  EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
  return engine ? std::move(*engine) : nullptr;
}

ModelChange number(const char* key, uint32_t value) {
  return [=](gguf_context* gguf) { gguf_set_val_u32(gguf, key, value); };
}

TEST(BrokenFigures, ThatLibllamaAssertsFailTheLoad) {
  const std::string moe = kModels + "/gate-moe.gguf", dense = kModels + "/gate-dense.gguf";
  const struct {
    std::string model;
    ModelChange change;
    const char* says;
  } cases[] = {
      {moe, number("llama.expert_used_count", 100), "claims to use 100 experts"},
      {moe, number("llama.expert_used_count", 0xffffffff), "claims to use 4294967295 experts"},
      {moe, number("llama.expert_used_count", 0), "n_expert_used"},
      {moe, number("llama.expert_count", 10'000), "GGML_ASSERT"},
      {moe, number("llama.expert_count", 100'000), "claims 100000 experts"},
      {dense, number("llama.expert_used_count", 2), "claims to use 2 experts"},
      {dense, number("llama.block_count", 0), "n_layer"},
      {dense, number("llama.block_count", 100'000), "claims 100000 layers"},
  };
  for (const auto& one : cases)
    EXPECT_THAT(refusals(one.model, one.change), testing::Each(HasSubstr(one.says))) << one.says;
}

TEST(BrokenFigures, MoreClassesThanAModelHasScoresForFailTheLoad) {
  std::vector<const char*> labels(5000, "x");
  EXPECT_THAT(refusals(kModels + "/ranker.gguf",
                       [&](gguf_context* gguf) {
                         gguf_set_arr_str(gguf, "llama.classifier.output_labels", labels.data(), labels.size());
                       }),
              testing::Each(HasSubstr("names 5000 classes")));
}

TEST(BrokenFigures, AWayOfPoolingThatNobodyKnowsFailsTheRequest) {
  const ChangedModel model(kModels + "/ranker.gguf", number("llama.pooling_type", 77));
  const auto engine = load(model.path(), Mode::kMmap);
  ASSERT_NE(engine, nullptr);
  const std::vector<TokenId> tokens{1, 2, 3};
  const auto embedding = engine->embed(tokens);
  ASSERT_FALSE(embedding);
  EXPECT_EQ(embedding.error().code(), Code::kUnsupported);
  EXPECT_THAT(embedding.error().message(), HasSubstr("pooling"));
}

// Rows of them are looked up, which whole numbers can be, and computed with, which they cannot.
TEST(BrokenFigures, WholeNumbersWhereOthersBelongFailTheLoad) {
  static const std::vector<float> kNothing(1 << 16);
  for (const auto& [model, tensor] :
       {std::pair<const char*, const char*>{"cohere2moe-moe", "blk.1.ffn_down_exps.scale"},
        {"gpt-oss-moe", "blk.0.ffn_gate_exps.bias"}})
    EXPECT_THAT(refusals(kModels + "/archs/" + model + ".gguf",
                         [&tensor = tensor](gguf_context* gguf) {
                           gguf_set_tensor_type(gguf, tensor, GGML_TYPE_I32);
                           gguf_set_tensor_data(gguf, tensor, kNothing.data());
                         }),
                testing::Each(testing::AllOf(HasSubstr("no code for"), HasSubstr("i32"))))
        << model;
}

// No answer computes with it, so only a ranking meets it.
TEST(BrokenFigures, AHeadThatNoKernelTakesFailsTheRanking) {
  static const std::vector<float> kNothing(4096);
  const ChangedModel model(kModels + "/archs/qwen3-dense.gguf", [](gguf_context* gguf) {
    gguf_set_val_u32(gguf, "qwen3.pooling_type", 4);  // ranks
    gguf_set_tensor_type(gguf, "cls.output.weight", GGML_TYPE_I32);
    gguf_set_tensor_data(gguf, "cls.output.weight", kNothing.data());
  });
  const auto engine = load(model.path(), Mode::kMmap);
  ASSERT_NE(engine, nullptr);
  const auto scores = engine->embed(std::vector<TokenId>{1, 2, 3});
  ASSERT_FALSE(scores);
  EXPECT_EQ(scores.error().code(), Code::kUnsupported);
  EXPECT_THAT(scores.error().message(), testing::AllOf(HasSubstr("no code for"), HasSubstr("cls.output.weight")));
}

// Kernels look at types in the middle of a pass, on threads of their own.
TEST(BrokenFigures, ATypeThatNoKernelTakesFailsTheLoad) {
  for (const char* norm : {"blk.1.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"})
    for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_I32, GGML_TYPE_F64})
      EXPECT_THAT(
          refusals(kModels + "/gate-dense.gguf",
                   [&](gguf_context* gguf) {
                     // The file is then of figures that lie, which is what is meant.
                     static const std::vector<float> kNothing(4096);
                     gguf_set_tensor_type(gguf, norm, type);
                     gguf_set_tensor_data(gguf, norm, kNothing.data());
                   }),
          testing::Each(testing::AllOf(HasSubstr("no code for"), HasSubstr(norm), HasSubstr(ggml_type_name(type)))))
          << norm;
}

// What a device has no code for either is computed by the host, between what devices compute.
TEST(BrokenFigures, ATypeThatNoKernelTakesFailsTheLoadBesideDevicesToo) {
  if (device_names().empty()) GTEST_SKIP() << "ggml finds no device; install mesa-vulkan-drivers";
  static const std::vector<float> kNothing(4096);
  int n_refused = 0;
  for (const char* norm : {"blk.0.attn_norm.weight", "blk.1.ffn_norm.weight", "output_norm.weight"})
    for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_I32}) {
      const ChangedModel model(kModels + "/gate-dense.gguf", [&](gguf_context* gguf) {
        gguf_set_tensor_type(gguf, norm, type);
        gguf_set_tensor_data(gguf, norm, kNothing.data());
      });
      for (const Mode mode : {Mode::kResident, Mode::kMmap})
        for (const uint32_t n_layers : {1u, 2u, 100u}) {
          LoadOptions options = options_for(model.path(), mode);
          options.devices.names = {device_names().front()};
          options.devices.n_gpu_layers = n_layers;
          const auto engine = Engine::load(options);
          if (engine) {  // the device has code for it
            EXPECT_TRUE((*engine)->decode(std::vector<BatchToken>{{.id = 1, .pos = 0}})) << norm;
          } else {
            ++n_refused;
            EXPECT_THAT(engine.error().message(), testing::AllOf(HasSubstr("no code for"), HasSubstr(norm)));
          }
        }
    }
  EXPECT_GT(n_refused, 18) << "of 36";
}

TEST(BrokenFigures, ANormWithoutARootFailsTheLoad) {
  const char* key = "llama.attention.layer_norm_rms_epsilon";
  for (const float epsilon : {-1.0f, std::numeric_limits<float>::quiet_NaN()})
    EXPECT_THAT(
        refusals(kModels + "/gate-dense.gguf", [&](gguf_context* gguf) { gguf_set_val_f32(gguf, key, epsilon); }),
        testing::Each(HasSubstr("epsilon")));
}

TEST(BrokenFigures, AMarkThatAVocabularyHasNotFailsTheRequest) {
  const ChangedModel model(kBrook, [](gguf_context* gguf) {
    gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", true);
    gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", 1'000'000);
    gguf_set_val_bool(gguf, "tokenizer.ggml.add_eos_token", true);
    gguf_set_val_u32(gguf, "tokenizer.ggml.eos_token_id", 0xffffffff);
  });
  const auto engine = Engine::load(options_for(model.path(), Mode::kMmap));
  if (!engine) return;  // that is right too
  for (const bool special : {false, true}) (void)(*engine)->tokenize("hello", special, special);
  EXPECT_EQ((*engine)->token_text(1'000'000, true), "");
}

TEST(BrokenFigures, ATextThatItsTokenizerWouldTakeMinutesForIsRefused) {
  for (const auto& [name, slow, fast] : {std::tuple{"superbpe", '7', ' '}, {"jais-2", ' ', '7'}}) {
    const ChangedModel model(kBrook, [&](gguf_context* gguf) { gguf_set_val_str(gguf, "tokenizer.ggml.pre", name); });
    const auto engine = load(model.path(), Mode::kMmap);
    ASSERT_TRUE(engine) << name;
    const auto refused = engine->tokenize(std::string(200'000, slow), false, false);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument) << name;
    EXPECT_TRUE(engine->tokenize(std::string(200'000, fast), false, false)) << name;
    EXPECT_TRUE(engine->tokenize(std::string(100, slow), false, false)) << name;
  }
}

// libllama makes room anew at each character that it writes byte by byte.
TEST(BrokenFigures, ATextOfCharactersThatNoTokenHasIsRefusedWhereThatTakesMinutes) {
  const auto engine = load(kModels + "/quantized/tiny-gemma3.gguf", Mode::kMmap);
  ASSERT_TRUE(engine);
  const auto again = [](const std::string& text, size_t n) {
    std::string all;
    for (; n > 0; --n) all += text;
    return all;
  };
  const std::string unknown = "\u0bf5";
  EXPECT_TRUE(engine->tokenize(again(unknown, 10'000), false, false));
  const auto refused = engine->tokenize(again(unknown, 200'000), false, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message(), HasSubstr("200000 characters that this model's vocabulary lacks"));
}

// A table of positions has rows for as many as it was trained with.
TEST(BrokenFigures, APositionBeyondItsTableIsRefused) {
  for (const Mode mode : {Mode::kResident, Mode::kMmap}) {
    LoadOptions options = options_for(kModels + "/archs/gpt2-dense.gguf", mode);
    options.n_ctx = 4096;
    const auto engine = Engine::load(options);
    ASSERT_TRUE(engine) << engine.error().message();
    EXPECT_EQ((*engine)->model().n_ctx, (*engine)->model().n_ctx_train);
    const auto last = static_cast<int32_t>((*engine)->model().n_ctx_train);
    const BatchToken inside{.id = 1, .pos = last - 1, .seq = 0, .want_logits = true};
    EXPECT_TRUE((*engine)->decode(std::span(&inside, 1)));
    const BatchToken beyond{.id = 1, .pos = last, .seq = 0, .want_logits = true};
    EXPECT_FALSE((*engine)->decode(std::span(&beyond, 1)));
  }
}

// Token 0 for ever would look like an answer. A norm's NaN is lost in a quantized matrix, that of the matrix is not.
TEST(BrokenFigures, WeightsThatAreNoNumbersFailTheAnswerAndTheEmbedding) {
  const std::vector<float> damaged(1 << 20, std::numeric_limits<float>::quiet_NaN());
  const std::vector<uint8_t> broken(1 << 20, 0xff);
  for (const auto& [name, data] :
       {std::pair<const char*, const void*>{"output_norm.weight", damaged.data()}, {"output.weight", broken.data()}}) {
    const ChangedModel model(kModels + "/gate-dense.gguf", [&name = name, &data = data](gguf_context* gguf) {
      gguf_set_tensor_data(gguf, name, data);
    });
    const auto engine = load(model.path(), Mode::kMmap);
    ASSERT_NE(engine, nullptr);
    const BatchToken token{.id = 1, .pos = 0, .seq = 0, .want_logits = true};
    ASSERT_TRUE(engine->decode(std::span(&token, 1)));
    for (const float temp : {0.0f, 1.0f}) {
      const auto chosen = engine->make_sampler({.temp = temp})->sample(-1);
      ASSERT_FALSE(chosen) << name;
      EXPECT_EQ(chosen.error().code(), Code::kCorrupt);
      EXPECT_THAT(chosen.error().message(), HasSubstr("no numbers"));
    }
  }
  const ChangedModel model(kModels + "/gate-dense.gguf", [&](gguf_context* gguf) {
    gguf_set_tensor_data(gguf, "output_norm.weight", damaged.data());
  });
  const auto engine = load(model.path(), Mode::kMmap);
  ASSERT_NE(engine, nullptr);
  const auto embedding = engine->embed(std::vector<TokenId>{1, 2, 3});
  ASSERT_FALSE(embedding);
  EXPECT_EQ(embedding.error().code(), Code::kCorrupt);
}

// What it makes of the model's numbers would look like a damaged model.
TEST(BrokenFigures, AnAdapterOfNoNumbersIsNamed) {
  const std::string path = kModels + "/gate-dense.gguf";
  const auto model = open_gguf_model(path, {.direct = false});
  ASSERT_TRUE(model);
  const TempFolder folder;
  const std::string whole = folder.at("whole.gguf"), damaged = folder.at("damaged.gguf");
  ASSERT_TRUE(write_adapter(*model, whole));
  std::filesystem::copy_file(whole, damaged);
  const auto adapter = open_gguf_model(damaged, {.direct = false});
  ASSERT_TRUE(adapter);
  const TensorInfo& last = adapter->tensors.back();
  std::fstream file(damaged, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(last.range.end() - sizeof(float)));
  const float none = std::numeric_limits<float>::quiet_NaN();
  file.write(reinterpret_cast<const char*>(&none), sizeof none);
  file.close();
  LoadOptions options = options_for(path, Mode::kMmap);
  options.adapters = {{.path = whole}};
  EXPECT_TRUE(Engine::load(options));
  options.adapters.push_back({.path = damaged});
  const auto refused = Engine::load(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kCorrupt);
  EXPECT_THAT(refused.error().message(), testing::AllOf(HasSubstr(damaged), HasSubstr(last.name)));
}

TEST(BrokenFigures, ATextOfCharactersThatNoTokenStandsForFailsTheRequest) {
  std::vector<std::string> names;
  std::vector<const char*> tokens;
  const std::vector<int32_t> normal(1024, 1);
  for (int i = 0; i < 1024; ++i) names.push_back("q" + std::to_string(i));
  for (const std::string& name : names) tokens.push_back(name.c_str());
  const ChangedModel model(kModels + "/gate-dense.gguf", [&](gguf_context* gguf) {
    gguf_set_arr_str(gguf, "tokenizer.ggml.tokens", tokens.data(), tokens.size());
    gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, normal.data(), normal.size());
  });
  const auto engine = load(model.path(), Mode::kMmap);
  ASSERT_NE(engine, nullptr);
  const auto refused = engine->tokenize("hello", false, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kUnsupported);
  EXPECT_THAT(refused.error().message(), HasSubstr("cannot be split into this model's tokens"));
}

// Kimi-Linear's graph takes three no way; it is not the file that is at fault.
TEST(BrokenFigures, WhatOnlyANumberOfConversationsBreaksSaysSo) {
  LoadOptions options = options_for(kModels + "/archs/kimi-linear-moe.gguf", Mode::kMmap);
  options.shared_context = false;
  options.n_seq_max = 3;
  const auto refused = Engine::load(options);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("for 3 conversations at once, and may do for another number"));
  options.n_seq_max = 4;
  EXPECT_TRUE(Engine::load(options));
}

}  // namespace
}  // namespace spillway
