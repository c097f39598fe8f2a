// SPDX-License-Identifier: MIT
// Generates one answer with an Engine whose context is empty: computes a prompt, then token after token, and keeps what
// the report of the run is made of. What a scheduler does for many, and without what benchmarks want: forced tokens,
// token ids as text, hashes of logits, encoders. One sequence, one thread; the engine must outlive it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "base/stop_matcher.h"
#include "cli/run/run_stats.h"
#include "engine/engine.h"

namespace spillway {

struct GenerationOptions {
  SamplingOptions sampling{};
  int64_t max_tokens = 512;  // negative: until the context is full
  uint32_t n_batch = 4096;   // prompt tokens per call of the engine at most: between two, progress shows
  std::vector<std::string> stop{};
  PromptImages images{};      // that stand in prompts
  bool special_text = false;  // special tokens show as text
  bool ignore_eos = false;    // an end token is a token like any other
  bool as_ids = false;        // the text of an answer is its token ids
  std::optional<std::vector<TokenId>>
      teacher{};               // fed instead of what would be chosen; when it ends, so does the answer
  uint32_t warmup_tokens = 0;  // generated tokens that are not part of the decode figures
  bool hash_logits = false;
};

struct GenerationHooks {
  std::function<bool(std::string_view bytes)> on_text{};  // false: nobody reads it any more
  std::function<void(size_t done, size_t total)> on_prefill{};
  std::function<bool()> is_interrupted{};
};

enum class StopReason { kEnd, kStopString, kMaxTokens, kContextFull, kTeacherEnded, kInterrupted, kOutputClosed };
const char* stop_reason_name(StopReason reason);

struct Generation {
  std::vector<TokenId> tokens;
  std::string text;      // raw bytes, up to a stop string
  std::string thinking;  // what was thought before, where that was told apart
  StopReason stop_reason = StopReason::kEnd;
  RunMeasurement measured;
  std::optional<uint64_t> logits_hash;  // of the logits that each token was chosen from, when asked for
};

class Generator {
 public:
  Generator(Engine& engine, GenerationOptions options);

  // Once.
  //   Cancelled         interrupted while the prompt was computed; during the answer it is a stop_reason instead
  //   InvalidArgument   the prompt is empty, or more than the context has room for
  //   Unsupported       the model computes embeddings
  //   errors of Engine::decode
  Result<Generation> generate(std::span<const TokenId> prompt, const GenerationHooks& hooks);

 private:
  struct Answer;

  Result<void> prefill(std::span<const TokenId> prompt, const GenerationHooks& hooks);
  Result<void> check_teacher() const;
  Result<void> compute_prompt(std::span<const TokenId> tokens, const GenerationHooks& hooks);
  Result<void> encode_prompt(std::span<const TokenId> prompt);
  Result<void> compute_last(Answer& answer);
  Result<std::optional<TokenId>> choose(Answer& answer);
  std::optional<StopReason> limit_reached(const Answer& answer) const;
  std::optional<StopReason> append(Answer& answer, TokenId id, const GenerationHooks& hooks);
  std::string text_of(const Answer& answer, TokenId id) const;

  Engine& engine_;
  const GenerationOptions options_;
  const std::unique_ptr<Sampler> sampler_;
  int32_t n_past_ = 0;  // tokens in the context
};

}  // namespace spillway
