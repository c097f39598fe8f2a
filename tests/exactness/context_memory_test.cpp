// SPDX-License-Identifier: MIT
// What is made after the load, larger contexts, one for embeddings, callers' caches, is part of the budget: streamed
// weights make room for it, and what has no room is refused and changes nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <string>
#include <vector>

#include "engine/adapter_writer.h"
#include "engine/engine.h"
#include "os/machine.h"
#include "os/temp_folder.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uint32_t kContext = 512;
// Of generated weights, the share that a load may keep at first.
constexpr double kShare = 0.75;

class ContextMemoryTest : public testing::Test {
 protected:
  // 75 MiB of weights; 8 KiB of keys and values for each token.
  const std::string path_ = std::string(SPILLWAY_TEST_MODELS) + "/roomy-dense.gguf";

  std::unique_ptr<Engine> load(uint64_t ram_bytes, Mode mode = Mode::kStream) {
    LoadOptions options;
    options.path = path_;
    options.mode = mode;
    options.kernels = Kernels::kPlain;
    options.ram_bytes = ram_bytes;
    if (ram_bytes == 0) options.weights_bytes = mode == Mode::kResident ? 2 * weight_bytes() : weight_bytes() / 2;
    options.reserve_bytes = reserve_bytes_;
    options.adapters = adapters_;
    options.n_ctx = kContext;
    options.n_ubatch = 64;
    options.extent_bytes_min = kPageBytes;
    options.measure_compute = false;
    options.keep_heat = false;
    auto engine = Engine::load(options);
    EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
    return engine ? std::move(*engine) : nullptr;
  }
  uint64_t reserve_bytes_ = 0;
  std::vector<LoraAdapter> adapters_;

  uint64_t weight_bytes() const { return std::filesystem::file_size(path_); }

  // Enough for the process and a share of the weights. What the process takes is measured by loads of its own, as often
  // as it takes: it is less or more by what the allocator kept of those before.
  std::unique_ptr<Engine> load_tightly(double share = kShare, Mode mode = Mode::kStream) {
    const auto share_bytes = static_cast<uint64_t>(share * static_cast<double>(weight_bytes()));
    auto engine = load(0, mode);
    for (int tries = 0; engine != nullptr && tries < 10; ++tries) {
      const uint64_t other_bytes = engine->memory().other_bytes;
      engine.reset();
      engine = load(other_bytes + share_bytes, mode);
      if (engine == nullptr) break;
      const uint64_t left_bytes = engine->memory().budget_bytes - engine->memory().other_bytes;
      if (left_bytes > share_bytes - MiB && left_bytes < share_bytes + MiB) return engine;
    }
    ADD_FAILURE() << "the process never takes the same";
    return nullptr;
  }
  static uint64_t counted_bytes(const Engine& engine) {
    const MemoryReport memory = engine.memory();
    return memory.pinned_bytes - memory.unpinned_bytes + memory.pool_now_bytes + memory.other_bytes;
  }
  static std::vector<float> logits(Engine& engine) {
    std::vector<BatchToken> prompt;
    for (int32_t i = 0; i < 20; ++i) prompt.push_back({.id = 50 + i, .pos = i, .seq = 0, .want_logits = i == 19});
    engine.cut(0, 0);
    const auto outcome = engine.decode(prompt);
    EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message());
    const auto data = engine.logits(19);
    return {data.begin(), data.end()};
  }
};

TEST_F(ContextMemoryTest, WeightsMakeRoomForALargerContext) {
  const auto engine = load_tightly();
  ASSERT_NE(engine, nullptr);
  const std::vector<float> before = logits(*engine);
  const MemoryReport memory = engine->memory();
  const auto resized = engine->resize_context(6 * kContext);
  ASSERT_TRUE(resized) << resized.error().message();
  EXPECT_EQ(engine->model().n_ctx, 6 * kContext);
  const MemoryReport now = engine->memory();
  EXPECT_GE(now.other_bytes, memory.other_bytes + 5 * kContext * 8 * KiB) << "its keys and values are not counted";
  EXPECT_LT(now.pool_now_bytes + now.pinned_bytes - now.unpinned_bytes, memory.pool_bytes + memory.pinned_bytes);
  EXPECT_LE(counted_bytes(*engine), now.budget_bytes);
  EXPECT_EQ(logits(*engine), before);
  // And they come back when it is small again.
  ASSERT_TRUE(engine->resize_context(kContext));
  EXPECT_EQ(logits(*engine), before);
}

struct Kept {
  const char* name;
  Mode mode;
  double share;  // of the weights that there is room for
};
class AnyContextMemory : public ContextMemoryTest, public testing::WithParamInterface<Kept> {};
INSTANTIATE_TEST_SUITE_P(Weights, AnyContextMemory,
                         testing::Values(Kept{"Streamed", Mode::kStream, kShare}, Kept{"AllPinned", Mode::kStream, 1.3},
                                         Kept{"Resident", Mode::kResident, 2}, Kept{"Mapped", Mode::kMmap, 1.3}),
                         [](const auto& kept) { return kept.param.name; });

TEST_P(AnyContextMemory, AContextWithoutRoomIsRefusedAndNothingChanges) {
  const auto engine = load_tightly(GetParam().share, GetParam().mode);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->memory().pool_bytes > 0, GetParam().share < 1);
  const std::vector<float> before = logits(*engine);
  const uint64_t other_bytes = engine->memory().other_bytes;
  const auto resized = engine->resize_context(1 << 20);  // 8 GiB
  ASSERT_FALSE(resized);
  EXPECT_EQ(resized.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(resized.error().message(), HasSubstr("context of 1048576 tokens"));
  EXPECT_EQ(engine->model().n_ctx, kContext);
  EXPECT_EQ(engine->memory().other_bytes, other_bytes);
  EXPECT_EQ(logits(*engine), before);
}

TEST_F(ContextMemoryTest, AContextForEmbeddingsIsCounted) {
  const auto engine = load_tightly(0.95);
  ASSERT_NE(engine, nullptr);
  const std::vector<float> before = logits(*engine);
  const uint64_t other_bytes = engine->memory().other_bytes;
  const std::vector<TokenId> text = {60, 61, 62};
  const auto embedding = engine->embed(text);
  ASSERT_TRUE(embedding) << embedding.error().message();
  const uint64_t with_embedder = engine->memory().other_bytes;
  EXPECT_GE(with_embedder, other_bytes + 128 * 8 * KiB);
  EXPECT_LE(counted_bytes(*engine), engine->memory().budget_bytes);
  ASSERT_TRUE(engine->embed(text));
  EXPECT_EQ(engine->memory().other_bytes, with_embedder) << "the second one needs no context of its own";
  EXPECT_EQ(logits(*engine), before);
}

// libllama rounds a context for 128 tokens up to 256, and takes no more than 128 in a pass.
TEST_F(ContextMemoryTest, TextsOfAnyLengthAreEmbeddedInAnyOrder) {
  const auto engine = load(0, Mode::kResident);
  ASSERT_NE(engine, nullptr);
  const auto embedding = [](Engine& of, size_t n_tokens) {
    const auto values = of.embed(std::vector<TokenId>(n_tokens, 60));
    EXPECT_TRUE(values) << n_tokens << " tokens: " << (values ? "" : values.error().message());
    return values.value_or(std::vector<float>{});
  };
  const std::vector<float> first = embedding(*engine, 3);
  for (const size_t n_tokens : {130u, 128u, 129u, 256u, 257u, 300u, 512u}) embedding(*engine, n_tokens);
  EXPECT_EQ(embedding(*engine, 3), first);
}

TEST_F(ContextMemoryTest, AContextForEmbeddingsWithoutRoomIsRefused) {
  const auto engine = load_tightly();
  ASSERT_NE(engine, nullptr);
  const std::vector<float> before = logits(*engine);
  const uint64_t other_bytes = engine->memory().other_bytes;
  const std::vector<TokenId> text(kContext, 60);
  const auto embedding = engine->embed(text);
  ASSERT_FALSE(embedding);
  EXPECT_EQ(embedding.error().code(), Code::kContextOverflow) << "a server's client is told, as for any text too long";
  EXPECT_THAT(embedding.error().message(), AllOf(HasSubstr("embeddings"), HasSubstr("shorter")));
  EXPECT_EQ(engine->memory().other_bytes, other_bytes);
  EXPECT_EQ(logits(*engine), before);
}

// Sums of 32 bits would make little of these.
TEST_F(ContextMemoryTest, SizesThatNoContextHasAreRefused) {
  const auto refused_load = [&](uint32_t n_ctx, uint32_t n_seq_max) {
    LoadOptions options;
    options.path = path_;
    options.n_ctx = n_ctx;
    options.n_seq_max = n_seq_max;
    options.shared_context = false;
    options.measure_compute = options.keep_heat = false;
    const auto engine = Engine::load(options);
    return engine ? Code::kInternal : engine.error().code();
  };
  EXPECT_EQ(refused_load(UINT32_MAX, 1), Code::kInvalidArgument);
  EXPECT_EQ(refused_load(1u << 31, 2), Code::kInvalidArgument);
  EXPECT_EQ(refused_load(1u << 24, 256), Code::kInvalidArgument);
  EXPECT_EQ(refused_load(1u << 28, 1), Code::kOutOfBudget) << "2 TiB";
  const auto engine = load(0);
  ASSERT_NE(engine, nullptr);
  const std::vector<float> before = logits(*engine);
  for (const uint32_t n_ctx : {0u, 1u << 29, 1u << 31, UINT32_MAX}) {
    const auto resized = engine->resize_context(n_ctx);
    ASSERT_FALSE(resized);
    EXPECT_EQ(resized.error().code(), Code::kInvalidArgument) << n_ctx;
  }
  EXPECT_EQ(engine->model().n_ctx, kContext);
  EXPECT_EQ(logits(*engine), before);
}

// Weights in another form than the file has: what is beside them counts too.
TEST_F(ContextMemoryTest, ARepackedModelsContextIsCounted) {
  LoadOptions options;
  options.path = path_;
  options.mode = Mode::kResident;
  options.kernels = Kernels::kRepacked;
  options.ram_bytes = 1536 * MiB;
  options.n_ctx = kContext;
  options.measure_compute = options.keep_heat = false;
  const auto engine = Engine::load(options);
  ASSERT_TRUE(engine) << engine.error().message();
  EXPECT_GT((*engine)->memory().other_bytes, 0u);
  const std::vector<float> before = logits(**engine);
  const auto resized = (*engine)->resize_context(160 * 1024);  // 1.25 GiB
  ASSERT_FALSE(resized) << counted_bytes(**engine);
  EXPECT_EQ(resized.error().code(), Code::kOutOfBudget);
  EXPECT_EQ(logits(**engine), before);
  ASSERT_TRUE((*engine)->resize_context(4 * kContext));
  EXPECT_EQ(logits(**engine), before);
  EXPECT_LE(counted_bytes(**engine), options.ram_bytes);
}

// Where the system has no descriptor left to watch memory with, what was planned still bounds what is made later.
TEST_F(ContextMemoryTest, AContextIsCountedWhereNobodyWatchesMemory) {
  rlimit kept{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &kept), 0);
  LoadOptions options;
  options.path = path_;
  options.mode = Mode::kResident;
  options.kernels = Kernels::kPlain;
  options.ram_bytes = GiB;
  options.n_ctx = kContext;
  options.measure_compute = options.keep_heat = false;
  options.progress = [&](double fraction) {
    rlimit none = kept;
    none.rlim_cur = 0;
    if (fraction >= 1) (void)::setrlimit(RLIMIT_NOFILE, &none);
    return true;
  };
  const auto engine = Engine::load(options);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &kept), 0);
  ASSERT_TRUE(engine) << engine.error().message();
  const auto resized = (*engine)->resize_context(128 * 1024);  // 1 GiB
  ASSERT_FALSE(resized);
  EXPECT_EQ(resized.error().code(), Code::kOutOfBudget);
  EXPECT_TRUE((*engine)->resize_context(2 * kContext));
}

TEST_F(ContextMemoryTest, CachesOfTheCallerAreCounted) {
  MemoryReport before;
  {
    const auto without = load_tightly(1.0);
    ASSERT_NE(without, nullptr);
    before = without->memory();
  }
  reserve_bytes_ = 16 * MiB;
  const auto engine = load(before.budget_bytes);
  ASSERT_NE(engine, nullptr);
  const MemoryReport memory = engine->memory();
  EXPECT_LE(memory.pinned_bytes + memory.pool_bytes + 12 * MiB, before.pinned_bytes + before.pool_bytes);
  EXPECT_LE(counted_bytes(*engine), memory.budget_bytes);
}

// A budget for weights alone has nothing to do with what the process takes.
TEST_F(ContextMemoryTest, WhatIsTooLittleForWeightsNamesHowMuchIsEnough) {
  LoadOptions options;
  options.path = path_;
  options.mode = Mode::kStream;
  options.kernels = Kernels::kPlain;
  options.weights_bytes = 1;
  options.n_ctx = kContext;
  options.n_ubatch = 64;
  options.measure_compute = false;
  options.keep_heat = false;
  const auto refused = Engine::load(options);
  ASSERT_FALSE(refused);
  const std::string& why = refused.error().message();
  EXPECT_THAT(why, AllOf(HasSubstr("for weights is too little"), HasSubstr("raise --weights")));
  const std::string least = why.substr(why.find("at least ") + 9);
  const auto named = parse_bytes(least.substr(0, least.find(" is needed")));
  ASSERT_TRUE(named) << why;
  options.weights_bytes = *named;
  EXPECT_TRUE(Engine::load(options)) << why;
  options.weights_bytes = *named * 9 / 10;
  EXPECT_FALSE(Engine::load(options)) << "no more than is needed is named: " << why;
}

TEST_F(ContextMemoryTest, AdaptersAreCounted) {
  uint64_t budget_bytes = 0;
  {
    const auto without = load_tightly(1.0);
    ASSERT_NE(without, nullptr);
    budget_bytes = without->memory().budget_bytes;
  }
  const TempFolder folder;
  const std::string adapter = folder.at("lora.gguf");
  {
    const auto model = open_gguf_model(path_);
    ASSERT_TRUE(model) << model.error().message();
    ASSERT_TRUE(write_adapter(*model, adapter, {.rank = 32}));
  }
  const uint64_t adapter_bytes = std::filesystem::file_size(adapter);
  ASSERT_GT(adapter_bytes, 16 * MiB);
  // A plan counts more for the program than a load measures; both count what the adapter adds to the graph.
  budget_bytes += adapter_bytes + 32 * MiB;
  for (const Mode mode : {Mode::kStream, Mode::kMmap}) {
    const auto other_bytes_with = [&](std::vector<LoraAdapter> adapters) {
      adapters_ = std::move(adapters);
      const auto engine = load(budget_bytes, mode);
      return engine != nullptr ? engine->memory().other_bytes : 0;
    };
    EXPECT_GE(other_bytes_with({{.path = adapter}}) + 4 * MiB, other_bytes_with({}) + adapter_bytes) << mode_name(mode);
    adapters_ = {{.path = adapter}};
    const auto engine = load(budget_bytes, mode);
    ASSERT_NE(engine, nullptr);
    const MemoryReport memory = engine->memory();
    if (mode == Mode::kMmap) continue;
    EXPECT_LE(counted_bytes(*engine), memory.budget_bytes);
    const uint64_t taken_bytes = process_usage().rss_anon_bytes;
    logits(*engine);
    EXPECT_LE(process_usage().rss_anon_bytes, taken_bytes + 8 * MiB) << "adapters were not taken with the load";
  }
  // Refused before they are taken.
  LoadOptions options;
  options.path = path_;
  options.adapters = adapters_;
  options.n_ctx = kContext;
  options.ram_bytes = process_usage().rss_anon_bytes + adapter_bytes / 2;
  options.measure_compute = options.keep_heat = false;
  const auto refused = Engine::load(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(refused.error().message(), AllOf(HasSubstr("no room for its adapters"), HasSubstr("raise --ram")));
}

}  // namespace
}  // namespace spillway
