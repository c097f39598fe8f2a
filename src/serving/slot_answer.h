// SPDX-License-Identifier: MIT
// The answer that a slot writes, token by token: text that is ready to be sent, where it ends, grammars that begin
// later, and room when the context is full: the older half is forgotten, and what is left computed anew, so that the
// answer goes on as if it had always been all there is. libllama could move what it has to other positions instead; but
// that was computed with a past that is gone, and windowed and recurrent layers cannot do it.
//
// Threads: the decode thread. Lifetime: the engine outlives it.
#pragma once

#include <optional>
#include <vector>

#include "base/status.h"
#include "serving/serving_slot.h"

namespace spillway {

// How the answer goes on.
struct AnswerStep {
  std::optional<FinishReason> end{};  // it is complete
  std::optional<Status> failure{};
  std::vector<TokenId> shifted{};  // what the slot is to hold from here on, where its context was full
};

class SlotAnswer {
 public:
  explicit SlotAnswer(Engine& engine) : engine_(engine) {}

  // Before the first token: sampler, stop strings, counters. The slot has its job, its tokens and what is computed.
  void begin(ServingSlot& slot);

  // The slot holds all its tokens: the next one is chosen, unless it was told to stop here. `output`: of the last pass.
  AnswerStep advance(ServingSlot& slot, int32_t output);

  // Prompt and answer without the stop string that ended it: as far as the text was shown. Where the stop string began
  // within a token, the text before it is tokenized again.
  std::vector<TokenId> tokens_before_stop(const ServingSlot& slot) const;
  // Tells how likely the prompt's token `at` was, by the logits of the one before it; -1: there is none.
  void score_prompt_token(ServingSlot& slot, size_t at, int32_t output);

 private:
  size_t context_tokens(const GenerateRequest& request) const;
  AnswerStep append(ServingSlot& slot, TokenId id, int32_t output);
  void make_sampler(ServingSlot& slot, const SamplingOptions& sampling);
  void start_grammar_when_due(ServingSlot& slot);
  void add_text(TokenScore& score) const;

  Engine& engine_;
};

}  // namespace spillway
