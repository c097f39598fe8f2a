// SPDX-License-Identifier: MIT
// A context that was made anew in another size computes as one that was loaded with that size.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "exactness/changed_model.h"

namespace spillway {
namespace {

std::unique_ptr<Engine> load(const std::string& path, uint32_t n_ctx) {
  LoadOptions options;
  options.path = path;
  options.mode = Mode::kResident;
  options.kernels = Kernels::kPlain;
  options.n_ctx = n_ctx;
  options.n_threads = 2;
  options.measure_compute = options.keep_heat = false;
  auto engine = Engine::load(options);
  EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
  return engine ? std::move(*engine) : nullptr;
}

std::vector<float> logits_of(Engine& engine, int32_t n_tokens) {
  std::vector<BatchToken> batch;
  for (int32_t i = 0; i < n_tokens; ++i)
    batch.push_back({.id = 3 + i % 200, .pos = i, .want_logits = i + 1 == n_tokens});
  const auto outcome = engine.decode(batch);
  EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message());
  const auto logits = engine.logits(-1);
  return {logits.begin(), logits.end()};
}

// Brook with factors of its rope for contexts of up to 512 tokens and for longer ones.
ChangedModel with_two_ropes() {
  return {SPILLWAY_BROOK, [](gguf_context* gguf) {
            static std::array<float, 32> short_factors, long_factors;
            for (size_t i = 0; i < 32; ++i) {
              short_factors[i] = 1;
              long_factors[i] = 1 + 3 * static_cast<float>(i) / 31;
            }
            gguf_set_val_str(gguf, "llama.rope.scaling.type", "longrope");
            gguf_set_val_u32(gguf, "llama.rope.scaling.original_context_length", 512);
            ggml_context* tensors = ggml_init({.mem_size = 4096, .mem_buffer = nullptr, .no_alloc = true});
            for (const auto& [name, factors] : {std::pair{"rope_factors_short.weight", &short_factors},
                                                {"rope_factors_long.weight", &long_factors}}) {
              ggml_tensor* tensor = ggml_new_tensor_1d(tensors, GGML_TYPE_F32, 32);
              ggml_set_name(tensor, name);
              gguf_add_tensor(gguf, tensor);
              gguf_set_tensor_data(gguf, name, factors->data());
            }
            ggml_free(tensors);
          }};
}

TEST(ContextSize, OneThatGrewComputesAsOneThatWasLoadedSo) {
  const auto grown = load(SPILLWAY_BROOK, 40), loaded = load(SPILLWAY_BROOK, 1024);
  ASSERT_TRUE(grown && loaded);
  EXPECT_EQ(logits_of(*grown, 30).empty(), false);
  ASSERT_TRUE(grown->resize_context(1024));
  EXPECT_EQ(grown->model().n_ubatch, loaded->model().n_ubatch);
  EXPECT_EQ(grown->pass_tokens_max(), loaded->pass_tokens_max());
  EXPECT_EQ(logits_of(*grown, 331), logits_of(*loaded, 331));
}

TEST(ContextSize, WhatOneWithAnotherRopeComputedHasAnotherKey) {
  const ChangedModel model = with_two_ropes();
  const auto engine = load(model.path(), 512);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->model().context_key, "");
  const std::vector<float> in_short = logits_of(*engine, 200);
  ASSERT_TRUE(engine->resize_context(1024));
  EXPECT_EQ(engine->model().context_key, "long");
  EXPECT_NE(logits_of(*engine, 200), in_short) << "or it would need none";
  ASSERT_TRUE(engine->resize_context(256));
  EXPECT_EQ(engine->model().context_key, "");
  EXPECT_EQ(logits_of(*engine, 200), in_short);
}

}  // namespace
}  // namespace spillway
