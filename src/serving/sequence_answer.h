// SPDX-License-Identifier: MIT
// The answer that a sequence writes, token by token: text that is ready to be sent, where it ends, grammars that begin
// later, and room when the context is full: the older half is forgotten, and what is left computed anew, so that the
// answer goes on as if it had always been all there is. libllama could move what it has to other positions instead; but
// that was computed with a past that is gone, and windowed and recurrent layers cannot do it.
//
// Threads: the decode thread. Lifetime: the engine outlives it.
#pragma once

#include <optional>
#include <vector>

#include "base/status.h"
#include "serving/served_sequence.h"

namespace spillway {

// How the answer goes on.
struct AnswerStep {
  std::optional<FinishReason> end{};  // it is complete
  std::optional<Status> failure{};
  std::vector<TokenId> shifted{};  // what the sequence is to hold from here on, where its context was full
};

class SequenceAnswer {
 public:
  explicit SequenceAnswer(Engine& engine) : engine_(engine) {}

  // Before the first token: sampler, stop strings, counters. The sequence has its job, its tokens and what is computed.
  void begin(ServedSequence& sequence);

  // The sequence holds all its tokens: the next one is chosen, unless it was told to stop here. `output`: of the last
  // pass.
  AnswerStep advance(ServedSequence& sequence, int32_t output);

  // Prompt and answer without the stop string that ended it: as far as the text was shown. Where the stop string began
  // within a token, the text before it is tokenized again.
  std::vector<TokenId> tokens_before_stop(const ServedSequence& sequence) const;
  // Tells how likely the prompt's token `at` was, by the logits of the one before it, where there is one.
  void score_prompt_token(ServedSequence& sequence, size_t at, std::optional<int32_t> output);

 private:
  size_t context_tokens(const GenerateRequest& request) const;
  AnswerStep append(ServedSequence& sequence, TokenId id, int32_t output);
  void make_sampler(ServedSequence& sequence, const SamplingOptions& sampling);
  void start_grammar_when_due(ServedSequence& sequence);
  void add_text(TokenScore& score) const;

  Engine& engine_;
};

}  // namespace spillway
