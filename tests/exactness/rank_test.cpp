// SPDX-License-Identifier: MIT
// What a model that ranks says of a pair, streamed, is what plain libllama says, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace spillway {
namespace {

const std::string kPath = std::string(SPILLWAY_TEST_MODELS) + "/ranker.gguf";

std::unique_ptr<Engine> load(const std::string& path, Mode mode) {
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
  auto engine = Engine::load(options);
  EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
  return engine ? std::move(*engine) : nullptr;
}

std::vector<float> plain_scores(const std::vector<TokenId>& tokens) {
  llama_model_params model_params = llama_model_default_params();
  model_params.use_extra_bufts = false;
  const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
      llama_model_load_from_file(kPath.c_str(), model_params), llama_model_free);
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = 128;
  params.n_threads = params.n_threads_batch = 2;
  params.embeddings = true;
  const std::unique_ptr<llama_context, decltype(&llama_free)> context(llama_init_from_model(model.get(), params),
                                                                      llama_free);
  EXPECT_EQ(llama_pooling_type(context.get()), LLAMA_POOLING_TYPE_RANK);
  std::vector<TokenId> copy = tokens;
  EXPECT_EQ(llama_decode(context.get(), llama_batch_get_one(copy.data(), static_cast<int32_t>(copy.size()))), 0);
  const float* scores = llama_get_embeddings_seq(context.get(), 0);
  return std::vector<float>(scores, scores + llama_model_n_cls_out(model.get()));
}

TEST(Rank, AStreamedScoreIsThatOfLibllama) {
  for (const Mode mode : {Mode::kStream, Mode::kResident, Mode::kMmap}) {
    const auto engine = load(kPath, mode);
    ASSERT_NE(engine, nullptr);
    EXPECT_EQ(engine->model().n_scores, 1u);
    std::vector<float> seen;
    for (const char* text : {"a panda is a bear", "hi", "the weather in Oslo"}) {
      const auto tokens = engine->pair_tokens("what is a panda?", text);
      ASSERT_TRUE(tokens) << tokens.error().message();
      const auto scores = engine->embed(*tokens);
      ASSERT_TRUE(scores) << scores.error().message();
      EXPECT_EQ(*scores, plain_scores(*tokens)) << mode_name(mode) << ": " << text;
      EXPECT_THAT(seen, testing::Not(testing::Contains(scores->front()))) << "every pair has a score of its own";
      seen.push_back(scores->front());
    }
  }
}

TEST(Rank, APairIsReadAsTheTokenizerMarksTexts) {
  const auto engine = load(kPath, Mode::kMmap);
  ASSERT_NE(engine, nullptr);
  const auto pair = engine->pair_tokens("what", "panda"), query = engine->tokenize("what", true, false),
             text = engine->tokenize("panda", false, false);
  ASSERT_TRUE(pair && query && text);
  std::vector<TokenId> joined = *query;  // begins with BOS; this tokenizer adds no end
  joined.insert(joined.end(), text->begin(), text->end());
  EXPECT_EQ(*pair, joined);
  EXPECT_EQ(*engine->pair_tokens("<end>", ""), *engine->pair_tokens("", "<end>")) << "text is text, not marks";
}

TEST(Rank, AModelThatWritesTextHasNoScores) {
  const auto engine = load(std::string(SPILLWAY_TEST_MODELS) + "/gate-dense.gguf", Mode::kMmap);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->model().n_scores, 0u);
}

}  // namespace
}  // namespace spillway
