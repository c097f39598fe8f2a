// SPDX-License-Identifier: MIT
// One request on its way through a scheduler, as the side that asked for it sees it.
//
// Threads: the decode thread writes, one thread of the asking side reads, any thread cancels. Nothing is queued: what
// became known meanwhile is joined to one update, so that a reader who never comes holds no more memory than an answer
// as long as the context.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/engine.h"

namespace spillway {

enum class FinishReason {
  kEnd,          // the model ended its answer
  kStopString,   // one of the stop strings
  kMaxTokens,    // as many as were asked for
  kContextFull,  // no room for more
};

// How likely a chosen token was, and what else was likely.
struct TokenScore {
  TokenId id = 0;
  std::string bytes;              // not always whole characters
  float logprob = 0;              // NaN: nothing stands before it, so nothing is known
  std::vector<TokenScore> top{};  // the likeliest first; without tops of their own
};

struct Outcome {
  std::optional<Status> failure;  // of this request alone
  FinishReason reason = FinishReason::kEnd;
  std::string stop_string;       // that ended it
  std::vector<TokenId> context;  // prompt and answer, as far as it was shown
  size_t prompt_tokens = 0;      // all of the prompt
  size_t cached_tokens = 0;      // of those, not computed anew
  size_t answer_tokens = 0;
  double queue_s = 0, prompt_s = 0, decode_s = 0;
  EngineStats at_begin = {}, at_answer = {},
              at_end = {};  // of all that the engine did: before the prompt, behind it, and behind all
};

enum class Phase { kQueued, kPrompt, kAnswer, kDone };

// What became known since the last call.
struct TicketUpdate {
  Phase phase = Phase::kQueued;
  std::string text;  // whole characters
  std::vector<TokenScore> scores;
  size_t prompt_tokens = 0, prompt_done = 0, cached_tokens = 0;
  std::optional<Outcome> outcome;  // the last update

  bool empty() const { return text.empty() && scores.empty() && !outcome; }
};

class Ticket {
 public:
  // Returns when there is text, a score or the outcome, or after `patience` with an empty update.
  TicketUpdate wait(std::chrono::milliseconds patience) EXCLUDES(mutex_);

  // The request ends as soon as the pass that computes it does; its outcome is a failure of kind Cancelled. While the
  // scheduler is there, Scheduler::cancel() is quicker.
  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }

  // The answer is enough as it is: it ends before its next token, as if the model had ended it.
  void end_now() { enough_ = true; }
  bool enough() const { return enough_; }

  // For the decode thread.
  void publish_progress(Phase phase, size_t prompt_tokens, size_t prompt_done, size_t cached_tokens) EXCLUDES(mutex_);
  void publish_text(std::string_view text, std::optional<TokenScore> score) EXCLUDES(mutex_);
  void publish_prompt_score(TokenScore score) EXCLUDES(mutex_);
  void publish_outcome(Outcome outcome) EXCLUDES(mutex_);
  void fail_unless_done(Status status) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  CondVar changed_;
  TicketUpdate update_ GUARDED_BY(mutex_);
  std::atomic<bool> cancelled_ = false, enough_ = false;
};

}  // namespace spillway
