// SPDX-License-Identifier: MIT
// Generates an answer with an Engine: computes a prompt behind what the context holds, then token after token, and
// keeps what the report of the run is made of. One sequence, one thread; the engine must outlive it.
//
// The last token of an answer is chosen but not computed: it stays pending and goes in front of the next prompt.
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
#include "cli/run_stats.h"
#include "engine/engine.h"

namespace spillway {

struct GenerationOptions {
  SamplingOptions sampling{};
  int64_t max_tokens = 512;  // negative: until the context is full
  uint32_t n_batch = 4096;   // prompt tokens per call of the engine at most: between two, progress shows
  std::vector<std::string> stop{};
  PromptImages images{};              // that stand in prompts
  std::vector<TokenId> end_tokens{};  // besides those that the model says end an answer
  bool skips_first_blanks = false;    // those that an answer begins with are not part of its text
  bool ignore_eos = false;            // an end token is a token like any other
  bool as_ids = false;                // the text of an answer is its token ids
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
  std::string text;          // raw bytes, up to a stop string
  size_t skipped_bytes = 0;  // blanks in front of the text
  std::string context_text;  // what the context holds of the answer, the pending token included
  StopReason stop_reason = StopReason::kEnd;
  RunMeasurement measured;
  std::optional<uint64_t> logits_hash;  // of the logits that each token was chosen from, when asked for
};

class Generator {
 public:
  Generator(Engine& engine, GenerationOptions options);

  // Before the answer begins, an error leaves the context as it was, or empty (see n_past()) where it cannot be cut.
  //   Cancelled         interrupted while the prompt was computed; during the answer it is a stop_reason instead
  //   InvalidArgument   the prompt is empty, or more than the context has room for
  //   Unsupported       the model computes embeddings
  //   errors of Engine::decode
  Result<Generation> generate(std::span<const TokenId> prompt, const GenerationHooks& hooks);

  int32_t n_past() const { return n_past_; }  // tokens in the context
  size_t n_pending() const { return pending_.size(); }
  void forget_all();

 private:
  struct Answer;

  Result<void> prefill(std::span<const TokenId> prompt, const GenerationHooks& hooks);
  Result<void> compute_prompt(std::span<const TokenId> tokens, const GenerationHooks& hooks);
  Result<void> encode_prompt(std::span<const TokenId> prompt);
  Result<void> compute_pending(Answer& answer);
  Result<std::optional<TokenId>> choose(Answer& answer);
  std::optional<StopReason> limit_reached(const Answer& answer) const;
  std::optional<StopReason> append(Answer& answer, TokenId id, const GenerationHooks& hooks);
  void cut_stop_string(Answer& answer);
  std::string without_first_blanks(Answer& answer, std::string text) const;
  std::string text_of(const Answer& answer, TokenId id) const;

  Engine& engine_;
  const GenerationOptions options_;
  const std::unique_ptr<Sampler> sampler_;
  int32_t n_past_ = 0;
  std::vector<TokenId> pending_;  // at most one
};

}  // namespace spillway
