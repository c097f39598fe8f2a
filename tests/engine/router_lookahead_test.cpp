// SPDX-License-Identifier: MIT
#include "engine/router_lookahead.h"

#include <ggml-backend.h>
#include <gmock/gmock.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kEmbd = 16, kExperts = 8, kUsed = 2, kTokensMax = 16;
constexpr uint32_t kLayers = 6;
constexpr size_t kRouterBytes = kEmbd * kExperts * sizeof(float);
constexpr size_t kBiasBytes = kExperts * sizeof(float);

// Routers of some layers in one mapped file, and the graph that chooses experts with one of them. Expert e of layer l
// looks at input number e + l, so an input with peaks says what each layer would choose.
class RouterLookaheadTest : public testing::Test {
 protected:
  RouterLookaheadTest()
      : memory_(static_cast<std::byte*>(std::aligned_alloc(64, kBytes)), std::free),
        buffer_(ggml_backend_cpu_buffer_from_ptr(memory_.get(), kBytes), ggml_backend_buffer_free),
        context_(ggml_init({.mem_size = 16 << 20, .mem_buffer = nullptr, .no_alloc = true}), ggml_free) {
    std::memset(memory_.get(), 0, kBytes);
    for (uint32_t l = 0; l < kLayers; ++l)
      for (int64_t e = 0; e < kExperts; ++e) router_row(l, e)[e + l] = 1;
    GgufModel model;
    model.tensors.resize(kLayers + 1);
    for (uint32_t t = 0; t <= kLayers; ++t)
      model.tensors[t].range = {t * kRouterBytes, t < kLayers ? kRouterBytes : kBiasBytes};
    index_ = std::make_unique<WeightIndex>(model, std::vector<std::byte*>{memory_.get()});
    lookahead_ = std::make_unique<RouterLookahead>(*index_);
    use_memory(*lookahead_);
    for (uint32_t l = 0; l < kLayers; ++l) lookahead_->learn(producer(l), choose(l, 1));
  }

  // As the gate tells it where pinned weights are.
  void use_memory(RouterLookahead& lookahead) const {
    lookahead.use([this](uint32_t tensor) { return memory_.get() + tensor * kRouterBytes; });
  }
  static std::string producer(uint32_t layer) { return "topk-" + std::to_string(layer); }

  float* router_row(uint32_t layer, int64_t expert) {
    return reinterpret_cast<float*>(memory_.get() + layer * kRouterBytes) + expert * kEmbd;
  }
  float* bias() { return reinterpret_cast<float*>(memory_.get() + kLayers * kRouterBytes); }
  float* input(int64_t token) { return reinterpret_cast<float*>(memory_.get() + kInputAt) + token * kEmbd; }

  // The input has its largest numbers at `first` and `second`, so layer l chooses experts first - l and second - l.
  void peak_at(int64_t token, int64_t first, int64_t second) {
    for (int64_t i = 0; i < kEmbd; ++i) input(token)[i] = 0.001f * static_cast<float>(kEmbd - i);
    input(token)[first] = 2;
    input(token)[second] = 1;
  }

  // The node with the ids that layer `layer` chose, as architectures build it.
  const ggml_tensor* choose(uint32_t layer, int64_t n_tokens, bool sigmoid = false) {
    ggml_context* context = context_.get();
    ggml_tensor* router = at(ggml_new_tensor_2d(context, GGML_TYPE_F32, kEmbd, kExperts), layer * kRouterBytes);
    ggml_tensor* x = at(ggml_new_tensor_2d(context, GGML_TYPE_F32, kEmbd, n_tokens), kInputAt);
    ggml_tensor* scores = ggml_mul_mat(context, router, x);
    if (!sigmoid) return ggml_argsort_top_k(context, ggml_soft_max(context, scores), kUsed);
    ggml_tensor* bias = at(ggml_new_tensor_1d(context, GGML_TYPE_F32, kExperts), kLayers * kRouterBytes);
    return ggml_argsort_top_k(context, ggml_add(context, ggml_sigmoid(context, scores), bias), kUsed);
  }

  RouterLookahead::Guess guess(uint32_t layer, uint32_t n_layers, int64_t n_tokens = 1) {
    return lookahead_->guess(choose(layer, n_tokens), producer(layer + n_layers), n_layers);
  }

  static constexpr size_t kInputAt = kLayers * kRouterBytes + 64;
  static constexpr size_t kBytes = kInputAt + kTokensMax * kEmbd * sizeof(float);
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  std::unique_ptr<ggml_backend_buffer, decltype(&ggml_backend_buffer_free)> buffer_;
  std::unique_ptr<ggml_context, decltype(&ggml_free)> context_;
  std::unique_ptr<WeightIndex> index_;
  std::unique_ptr<RouterLookahead> lookahead_;

 private:
  ggml_tensor* at(ggml_tensor* tensor, size_t offset) {
    EXPECT_EQ(ggml_backend_tensor_alloc(buffer_.get(), tensor, memory_.get() + offset), GGML_STATUS_SUCCESS);
    return tensor;
  }
};

TEST_F(RouterLookaheadTest, LaterRoutersAreAskedWithThisLayersInput) {
  peak_at(0, 6, 4);
  EXPECT_THAT(guess(0, 1).experts, ElementsAre(5, 3));
  EXPECT_THAT(guess(0, 2).experts, ElementsAre(4, 2));
  EXPECT_THAT(guess(1, 3).experts, ElementsAre(2, 0));
}

TEST_F(RouterLookaheadTest, TokensOfABatchAreGuessedTogetherWithoutRepeating) {
  peak_at(0, 6, 4);
  peak_at(1, 4, 3);
  EXPECT_THAT(guess(0, 1, 2).experts, ElementsAre(5, 3, 2));
}

TEST_F(RouterLookaheadTest, ABiasIsAddedToSigmoids) {
  peak_at(0, 6, 4);
  bias()[7] = 10;
  RouterLookahead with_bias(*index_);
  use_memory(with_bias);
  with_bias.learn("biased", choose(1, 1, true));
  EXPECT_THAT(with_bias.guess(choose(0, 1), "biased", 1).experts, ElementsAre(7, 5));
}

TEST_F(RouterLookaheadTest, NothingIsGuessedForUnknownRoutersAndLargeBatches) {
  peak_at(0, 6, 4);
  EXPECT_THAT(lookahead_->guess(choose(0, 1), "never seen", 1).experts, IsEmpty());
  EXPECT_THAT(guess(0, 1, 8).experts, testing::Not(IsEmpty()));
  EXPECT_THAT(guess(0, 1, 9).experts, IsEmpty());
}

TEST_F(RouterLookaheadTest, WhatWasHandedOutAndNotChosenIsWrongOnce) {
  peak_at(0, 6, 4);
  guess(0, 1);
  EXPECT_THAT(lookahead_->judge(producer(1), {3, 7}), ElementsAre(5));
  EXPECT_THAT(lookahead_->judge(producer(1), {3, 7}), IsEmpty());
  EXPECT_THAT(lookahead_->judge(producer(2), {3, 7}), IsEmpty()) << "nothing was guessed for it";
}

TEST_F(RouterLookaheadTest, ANearerGuessWithdrawsWhatItDoesNotShare) {
  peak_at(0, 6, 4);
  EXPECT_THAT(guess(0, 2).experts, ElementsAre(4, 2));
  peak_at(0, 6, 3);
  const RouterLookahead::Guess nearer = guess(1, 1);
  EXPECT_THAT(nearer.experts, ElementsAre(4, 1));
  EXPECT_THAT(nearer.withdrawn, ElementsAre(2));
  EXPECT_THAT(lookahead_->judge(producer(2), {4, 7}), ElementsAre(1)) << "of the latest guess; 2 was withdrawn before";
}

TEST_F(RouterLookaheadTest, APassThatEndsEarlyIsNotJudgedByTheNext) {
  peak_at(0, 6, 4);
  guess(0, 1);
  lookahead_->begin_pass();
  EXPECT_THAT(lookahead_->judge(producer(1), {0, 1}), IsEmpty());
  EXPECT_EQ(lookahead_->share_right(1), 1);
}

TEST_F(RouterLookaheadTest, ADistanceAtWhichItIsOftenWrongIsKeptBackUntilItIsRightAgain) {
  peak_at(0, 6, 4);
  for (int i = 0; i < 100; ++i) {
    guess(0, 2);
    guess(1, 1);
    lookahead_->judge(producer(2), {4, 7});  // half of each guess is right
  }
  EXPECT_NEAR(lookahead_->share_right(1), 0.73, 0.01);
  EXPECT_EQ(lookahead_->share_right(1), lookahead_->share_right(2));
  for (int i = 0; i < 100; ++i) {
    guess(0, 2);
    guess(1, 1);
    lookahead_->judge(producer(2), {4, 7});
  }
  EXPECT_THAT(guess(1, 1).experts, ElementsAre(4, 2)) << "the next layer's are read early all the same";
  EXPECT_THAT(guess(0, 2).experts, IsEmpty());
  for (int i = 0; i < 100; ++i) {
    guess(0, 2);
    lookahead_->judge(producer(2), {4, 2});
  }
  EXPECT_THAT(guess(0, 2).experts, ElementsAre(4, 2));
}

}  // namespace
}  // namespace spillway
