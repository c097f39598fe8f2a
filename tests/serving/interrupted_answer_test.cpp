// SPDX-License-Identifier: MIT
// An answer that another context size interrupts, on a real model: what it held goes into the new context, bit for bit.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "engine/engine.h"
#include "serving/prompt_cache.h"
#include "serving/scheduler.h"

namespace spillway {
namespace {

constexpr uint32_t kContext = 2048;
constexpr int64_t kAnswerTokens = 500;

class InterruptedAnswer : public testing::TestWithParam<const char*> {
 protected:
  InterruptedAnswer() {
    LoadOptions options;
    options.path = std::string(SPILLWAY_TEST_MODELS) + "/quantized/" + GetParam();
    options.n_ctx = kContext;
    options.n_threads = 1;  // several would wait for each other where the machine is busy
    options.shared_context = options.measure_compute = options.keep_heat = false;
    auto engine = Engine::load(options);
    EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
    if (engine) engine_ = std::move(*engine);
  }
  void start(uint64_t cache_bytes) {
    scheduler_.reset();
    cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = cache_bytes, .folder = {}});
    scheduler_ = Scheduler::start(*engine_, {.prompt_cache = cache_.get(), .resize_patience_s = 0});
  }
  // Prompt and answer. With a size for another context: that is made in the middle of the answer, or nothing comes
  // back.
  std::vector<TokenId> tokens(uint32_t other_context = 0) {
    GenerateRequest request;
    for (TokenId id = 0; id < 40; ++id) request.prompt.push_back(60 + id);
    request.sampling.temp = 1;  // greedy answers of generated weights repeat themselves, whatever they follow
    request.sampling.seed = 7;
    request.max_tokens = kAnswerTokens;
    request.ignore_eos = true;
    const auto ticket = scheduler_->submit(request);
    EXPECT_TRUE(ticket);
    bool interrupted = other_context == 0;
    for (;;) {
      TicketUpdate update = (*ticket)->wait(std::chrono::seconds(60));
      if (update.outcome) {
        EXPECT_FALSE(update.outcome->failure) << update.outcome->failure->message();
        return interrupted ? update.outcome->context : std::vector<TokenId>();
      }
      if (interrupted || update.phase != Phase::kAnswer) continue;
      const auto resized = scheduler_->resize_context(other_context);
      EXPECT_TRUE(resized) << (resized ? "" : resized.error().message());
      interrupted = scheduler_->stats().sequences[0].busy;
    }
  }
  // Should the answer have been quicker, another one is interrupted.
  std::vector<TokenId> tokens_of_interrupted() {
    for (uint32_t n_ctx = kContext; n_ctx < 8 * kContext; n_ctx += 256)
      if (auto all = tokens(n_ctx + 256); !all.empty()) return all;
    ADD_FAILURE() << "no answer was interrupted";
    return {};
  }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<PromptCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;  // last: it uses the others
};
INSTANTIATE_TEST_SUITE_P(Models, InterruptedAnswer, testing::Values("dense-Q4_K_M.gguf", "moe-Q8_0.gguf"));

TEST_P(InterruptedAnswer, HasTheTokensOfOneThatWasNot) {
  ASSERT_NE(engine_, nullptr);
  start(0);
  const auto undisturbed = tokens();
  ASSERT_EQ(undisturbed.size(), 40u + kAnswerTokens);
  ASSERT_TRUE(scheduler_->resize_context(kContext + 128));  // so that nothing of it is there any more
  start(256 * MiB);
  EXPECT_EQ(tokens_of_interrupted(), undisturbed);
}

TEST_P(InterruptedAnswer, GoesOnToItsEndWhereNothingCouldBeKept) {
  ASSERT_NE(engine_, nullptr);
  start(0);
  EXPECT_EQ(tokens_of_interrupted().size(), 40u + kAnswerTokens);
}

}  // namespace
}  // namespace spillway
