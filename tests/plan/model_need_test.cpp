// SPDX-License-Identifier: MIT
#include "plan/model_need.h"

#include <gmock/gmock.h>

#include <random>

#include "../os/temp_folder.h"
#include "plan/model_facts.h"
#include "plan_models.h"

namespace spillway {
namespace {

TEST(ModelNeed, CountsTheCacheAsOnPaper) {
  const GgufModel model = make_shape(kDense70b);  // 80 layers, 8 heads of 128 for keys and values
  const auto need = model_need(model, {.n_ctx = 8192});
  ASSERT_TRUE(need);
  EXPECT_EQ(need->kv_bytes, 80ull * 8192 * 2 * 8 * 128 * 2);
  EXPECT_EQ(need->layers.size(), 80u);
  EXPECT_EQ(need->state_bytes, 0u);
  const auto quantized = model_need(model, {.n_ctx = 8192, .cache = {.type_k = "q8_0", .type_v = "q4_0"}});
  EXPECT_EQ(quantized->kv_bytes, 80ull * 8192 * (8 * 128 / 32) * (34 + 18));
}

TEST(ModelNeed, ContextsAreRoundedUpAndSequencesShareThem) {
  const GgufModel model = make_shape(kDense8b);
  EXPECT_EQ(model_need(model, {.n_ctx = 1})->kv_bytes, model_need(model, {.n_ctx = 256})->kv_bytes);
  EXPECT_EQ(model_need(model, {.n_ctx = 512, .n_seq = 4})->kv_bytes, model_need(model, {.n_ctx = 512})->kv_bytes);
  EXPECT_GT(model_need(model, {.n_ctx = 512, .n_seq = 4})->output_bytes,
            model_need(model, {.n_ctx = 512})->output_bytes);
}

TEST(ModelNeed, LatentAttentionKeepsOneVectorForAllHeads) {
  GgufModel model = make_shape({.layers = 2, .embd = 1024, .heads = 16, .kv_heads = 16});
  for (TensorInfo& tensor : model.tensors) {
    if (tensor.name.ends_with("attn_k.weight")) tensor.name.replace(tensor.name.find("attn_k."), 7, "attn_kv_a_mqa.");
    if (tensor.name.ends_with("attn_kv_a_mqa.weight")) tensor.shape[1] = 576;
    if (tensor.name.ends_with("attn_v.weight")) tensor.name.replace(tensor.name.find("attn_v."), 7, "attn_k_b.");
  }
  EXPECT_EQ(model_need(model, {.n_ctx = 1024})->kv_bytes, 2ull * 1024 * 576 * 2);
}

TEST(ModelNeed, HostileNumbersOverflowNothing) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 500; ++round) {
    GgufModel model = make_shape({.layers = 3, .embd = 256, .ff = 512, .heads = 4, .kv_heads = 2, .vocab = 100});
    for (const char* key : {"attention.head_count", "attention.head_count_kv", "attention.key_length", "ssm.inner_size",
                            "attention.sliding_window", "ssm.state_size", "nextn_predict_layers"})
      if (random() % 2 == 0) model.numbers[key] = {static_cast<int64_t>(random())};
    if (random() % 4 == 0) model.n_embd = random();
    if (random() % 4 == 0) model.n_layer = random();
    if (random() % 4 == 0) model.tensors[random() % model.tensors.size()].shape[1] = random();
    const auto need =
        model_need(model, {.n_ctx = 1 + random() % (1 << 28), .n_seq = static_cast<uint32_t>(1 + random() % 256)});
    if (!need) continue;
    uint64_t sum = 0;
    for (const LayerNeed& layer : need->layers) sum += layer.kv_bytes;
    EXPECT_EQ(sum, need->kv_bytes);
    EXPECT_LT(need->context_bytes(), 1ull << 62);
  }
}

TEST(ModelNeed, AdaptersAreThereBesideTheModelAndWidenAPass) {
  const GgufModel model = make_shape(kMixtral);
  const auto without = model_need(model, {.n_ctx = 8192}),
             with = model_need(model, {.n_ctx = 8192, .adapter_bytes = GiB});
  EXPECT_GE(with->program_bytes, without->program_bytes + GiB);
  EXPECT_GE(with->compute_bytes, without->compute_bytes + 512ull * 2 * 14336 * 4) << "of two experts";
  EXPECT_EQ(with->kv_bytes, without->kv_bytes);
}

TEST(ModelNeed, ALoadTakesMoreForManyTensors) {
  const uint64_t few_bytes = loaded_program_bytes(make_shape({.layers = 16}));
  EXPECT_EQ(loaded_program_bytes(make_shape({.layers = 2})), few_bytes);
  const uint64_t many_bytes = loaded_program_bytes(make_shape(kDense70b));
  EXPECT_GE(many_bytes, few_bytes + 70 * MiB) << "as a load of that model took";
  EXPECT_LE(many_bytes, few_bytes + 90 * MiB);
}

TEST(ModelFacts, CountsWhatATokenUses) {
  const GgufModel model = make_shape(kMixtral);
  const ModelFacts facts = model_facts(model);
  EXPECT_NEAR(static_cast<double>(facts.n_params), 46.7e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(facts.n_params_active), 12.75e9, 0.1e9);
  EXPECT_EQ(facts.types.front().type, "q5_K");
  EXPECT_EQ(facts.roles.front().role, TensorRole::kExperts);
}

}  // namespace
}  // namespace spillway
