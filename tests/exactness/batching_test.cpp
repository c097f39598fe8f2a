// SPDX-License-Identifier: MIT
// What a request's answer owes to who computes beside it, on models that stream.
//
// ggml takes one kernel for a product with one row and another for more, where it has both: for K-quants their sums
// differ in the last bit. Its attention has a third way for 64 rows and more of one sequence, and a fourth for one row
// over more than 256 tokens. Where none of these differ, an answer is the same alone and among eight; elsewhere it is
// bounded how far logits move.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/run/generator.h"
#include "engine/engine.h"
#include "serving/scheduler.h"

namespace spillway {
namespace {

constexpr int32_t kSeqs = 8;
constexpr int64_t kAnswerTokens = 16;
// Of the spread of the logits. Eight-bit activations are rounded to 1/127 of their largest: a last bit that differs
// moves single ones by a step. Another token in the prompt moves the logits by about as much as they spread.
constexpr double kMovedShareMax = 0.05;

std::unique_ptr<Engine> streamed(const std::string& name, uint32_t n_ctx) {
  LoadOptions options;
  options.path = std::string(SPILLWAY_TEST_MODELS) + "/quantized/" + name + ".gguf";
  options.mode = Mode::kStream;
  options.weights_bytes = std::filesystem::file_size(options.path) * 8 / 10;
  options.extent_bytes_min = kPageBytes;
  options.n_ctx = n_ctx;
  options.n_seq_max = kSeqs;
  options.shared_context = false;
  options.measure_compute = false;
  options.keep_heat = false;
  auto engine = Engine::load(options);
  EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
  return engine ? std::move(*engine) : nullptr;
}

// Ids below 250 stand for text in every generated vocabulary.
std::vector<TokenId> prompt_of(int32_t seq, size_t n) {
  std::vector<TokenId> prompt;
  for (size_t i = 0; i < n; ++i)
    prompt.push_back(static_cast<TokenId>((i * 37 + static_cast<size_t>(seq) * 101) % 200 + 40));
  return prompt;
}

struct Answer {
  std::vector<TokenId> tokens;    // prompt and answer
  std::vector<float> logprobs{};  // of the answer's
};

GenerateRequest request_of(int32_t seq) {
  GenerateRequest request;
  request.prompt = prompt_of(seq, 5 + static_cast<size_t>(seq) * 7);
  request.sampling.temp = 0;
  request.max_tokens = kAnswerTokens;
  request.ignore_eos = request.scores = true;
  return request;
}

Answer wait_for(Ticket& ticket) {
  Answer answer;
  for (;;) {
    TicketUpdate update = ticket.wait(std::chrono::seconds(60));
    for (const TokenScore& score : update.scores) answer.logprobs.push_back(score.logprob);
    if (!update.outcome) continue;
    EXPECT_FALSE(update.outcome->failure) << update.outcome->failure->message();
    answer.tokens = update.outcome->context;
    return answer;
  }
}

class SameTokens : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(OneKernel, SameTokens, testing::Values("dense-F32", "dense-Q8_0", "moe-Q4_0", "tiny-gpt-oss"));

TEST_P(SameTokens, AloneAmongEightAndFromRun) {
  const auto engine = streamed(GetParam(), 128);
  ASSERT_NE(engine, nullptr);
  // 1. One after the other; each slot is emptied by a prompt that shares nothing.
  std::vector<Answer> alone;
  {
    const auto scheduler = Scheduler::start(*engine, {.n_sequences = kSeqs});
    for (int32_t seq = 0; seq < kSeqs; ++seq) alone.push_back(wait_for(**scheduler->submit(request_of(seq))));
  }
  for (int32_t seq = 0; seq < kSeqs; ++seq) engine->cut(seq, 0);
  // 2. Together.
  {
    const auto scheduler = Scheduler::start(*engine, {.n_sequences = kSeqs});
    std::vector<std::shared_ptr<Ticket>> tickets;
    for (int32_t seq = 0; seq < kSeqs; ++seq) tickets.push_back(*scheduler->submit(request_of(seq)));
    for (int32_t seq = 0; seq < kSeqs; ++seq) {
      const Answer together = wait_for(*tickets[static_cast<size_t>(seq)]);
      EXPECT_EQ(together.tokens, alone[static_cast<size_t>(seq)].tokens) << seq;
      EXPECT_EQ(together.logprobs, alone[static_cast<size_t>(seq)].logprobs) << seq << ": not bit for bit";
    }
    const SchedulerStats stats = scheduler->stats();
    EXPECT_GT(stats.sequences_in_passes, 3 * stats.passes) << "they hardly computed together";
  }
  EXPECT_GT(engine->stats().bytes_read, 0u);
  // 3. As `spillway run` does it.
  for (int32_t seq = 0; seq < kSeqs; ++seq) {
    engine->cut(0, 0);
    GenerationOptions options;
    options.sampling.temp = 0;
    options.max_tokens = kAnswerTokens;
    options.ignore_eos = true;
    Generator generator(*engine, options);
    const std::vector<TokenId> prompt = request_of(seq).prompt;
    const auto generation = generator.generate(prompt, {});
    ASSERT_TRUE(generation) << generation.error().message();
    std::vector<TokenId> tokens = prompt;
    tokens.insert(tokens.end(), generation->tokens.begin(), generation->tokens.end());
    EXPECT_EQ(tokens, alone[static_cast<size_t>(seq)].tokens) << seq;
  }
}

std::vector<BatchToken> part_of(int32_t seq, size_t from, size_t n) {
  const std::vector<TokenId> tokens = prompt_of(seq, from + n);
  std::vector<BatchToken> part;
  for (size_t i = from; i < from + n; ++i)
    part.push_back({.id = tokens[i], .pos = static_cast<int32_t>(i), .seq = seq, .want_logits = i + 1 == from + n});
  return part;
}

double rms(std::span<const float> values, std::span<const float> minus) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double d = static_cast<double>(values[i]) - static_cast<double>(minus[i]);
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(values.size()));
}

class MovedLogits : public testing::TestWithParam<const char*> {
 protected:
  std::vector<float> logits_after(Engine& engine, std::span<const BatchToken> batch, int32_t output) {
    const auto outcome = engine.decode(batch);
    EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message());
    const auto logits = engine.logits(output);
    return {logits.begin(), logits.end()};
  }
};
INSTANTIATE_TEST_SUITE_P(OtherKernels, MovedLogits,
                         testing::Values("dense-Q8_0", "dense-Q4_K_M", "moe-Q6_K", "tiny-gemma3"));

// One token alone and beside seven, over a context short and long; prompts as a whole and in parts.
TEST_P(MovedLogits, WhoComputesBesideMovesThemByLittle) {
  const auto engine = streamed(GetParam(), 1024);
  ASSERT_NE(engine, nullptr);
  for (const size_t n : {30u, 300u}) {
    SCOPED_TRACE(testing::Message() << n << " tokens");
    for (int32_t seq = 0; seq < kSeqs; ++seq) {
      engine->cut(seq, 0);
      ASSERT_TRUE(engine->decode(part_of(seq, 0, n)));
    }
    const std::vector<float> alone = logits_after(*engine, part_of(0, n, 1), 0);
    for (int32_t seq = 0; seq < kSeqs; ++seq) ASSERT_EQ(engine->cut(seq, n), n);
    std::vector<BatchToken> all;
    for (int32_t seq = 0; seq < kSeqs; ++seq) all.push_back(part_of(seq, n, 1).front());
    const std::vector<float> beside = logits_after(*engine, all, 0);
    const auto other = engine->logits(1);
    engine->cut(0, 0);
    for (size_t at = 0; at < n; at += 25) ASSERT_TRUE(engine->decode(part_of(0, at, std::min<size_t>(25, n - at))));
    const std::vector<float> in_parts = logits_after(*engine, part_of(0, n, 1), 0);

    ASSERT_FALSE(alone.empty());
    const double spread = rms(alone, std::vector<float>(alone.size(), 0.0f));
    RecordProperty("moved_beside_" + std::to_string(n), std::to_string(rms(alone, beside) / spread));
    RecordProperty("moved_in_parts_" + std::to_string(n), std::to_string(rms(alone, in_parts) / spread));
    EXPECT_LE(rms(alone, beside), kMovedShareMax * spread);
    EXPECT_LE(rms(alone, in_parts), kMovedShareMax * spread);
    EXPECT_GT(rms(alone, other), 0.5 * spread) << "somebody else's logits would pass";
  }
}

}  // namespace
}  // namespace spillway
