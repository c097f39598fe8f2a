// SPDX-License-Identifier: MIT
// A sequence of the engine and the request that it serves, as the scheduler and its parts see it.
//
// `tokens` are all that a sequence is to hold; the first `n_computed` of them it does hold, as the engine says after
// each pass (Engine::held). Whatever is behind those is computed next, and when nothing is, the next token is chosen:
// prompt and answer are the same thing in this.
//
// Threads: the decode thread's own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/stop_matcher.h"
#include "base/utf8_buffer.h"
#include "engine/engine.h"
#include "serving/ticket.h"

namespace spillway {

struct GenerateRequest {
  std::vector<TokenId> prompt;
  PromptImages images{};  // that stand in it
  SamplingOptions sampling{};
  // Where the grammar of `sampling` begins: after this text of the answer (the end of thinking); empty: at once.
  std::string grammar_after{};
  int64_t max_tokens = -1;  // negative: until the context is full
  std::vector<std::string> stop{};
  bool ignore_eos = false;
  bool special_text = false;  // special tokens show as text
  bool scores = false;        // log probabilities, and
  size_t top_scores = 0;      // of so many others
  // With `scores`: also of the prompt's tokens from this one on, which then are all computed; nullopt: of none.
  std::optional<size_t> scores_from{};
  bool fresh = false;  // nothing of the prompt is taken from what was computed before
  size_t n_ctx = 0;    // tokens of context that it may take; 0: all there are
  bool shift = false;  // when they are full, forget the older half behind the first n_keep tokens
  size_t n_keep = 0;
  std::string client{};  // whose turn it is
};

// A request, from submit() until its outcome.
struct ServingJob {
  ServingJob() = default;
  ServingJob(const ServingJob&) = delete;
  ServingJob& operator=(const ServingJob&) = delete;
  // The side that waits for it is told, whatever became of it.
  ~ServingJob() {
    if (ticket != nullptr) ticket->fail_unless_done({Code::kInternal, "internal error"});
  }

  GenerateRequest request;
  std::shared_ptr<Ticket> ticket;  // shared by the asking side and the decode thread
  Stopwatch since_submit;
};

struct ServedSequence {
  int32_t seq = 0;
  std::vector<TokenId> tokens;
  size_t n_computed = 0;
  // Of those, the first that were computed in proper parts of a prompt (see prompt_parts.h): they have the bits that
  // any server gives them. Tokens of answers, computed one by one, have not.
  size_t n_as_prompt = 0;
  uint64_t used = 0;  // when, for the least recently used

  std::unique_ptr<ServingJob> job;  // null: free
  std::unique_ptr<Sampler> sampler;
  StopMatcher stops{{}};
  Utf8Buffer utf8;
  std::string trigger_tail;  // text of the answer that may end in grammar_after
  bool grammar_due = false;
  size_t n_prompt = 0, n_cached = 0, n_answer = 0;
  size_t written_bytes = 0, shown_bytes = 0;  // of the answer's text: all of it, and what came past the stop strings
  size_t n_scored = 0;                        // of the prompt: these need no score, or have one
  size_t next_checkpoint = 0;                 // when it holds so many tokens
  size_t stop_at = 0;                         // a part of the prompt ends here, for the sake of a checkpoint
  double queue_s = 0, prompt_s = 0;
  EngineStats at_begin, at_answer;
  Stopwatch since_begin;
  bool suspect = false;  // a pass that it was part of failed: it computes alone, to see whose fault that was

  bool busy() const { return job != nullptr; }
  // The image that begins at `at`; null: text.
  const PromptImage* image_at(size_t at) const {
    if (!busy() || at >= tokens.size() || !is_image_place(tokens[at])) return nullptr;
    return job->request.images.at(tokens[at]).get();
  }
  size_t n_missing() const { return tokens.size() - n_computed; }
  bool in_prompt() const { return n_answer == 0; }
  // The prompt's tokens whose scores are wanted: each takes the logits of the token before it.
  bool wants_score(size_t at) const { return busy() && job->request.scores_from && at >= n_scored && at < n_prompt; }
  // What of the prompt may be held without having been computed for this request.
  std::span<const TokenId> reusable(std::span<const TokenId> prompt) const {
    if (!busy() || !(job->request.fresh || job->request.scores_from)) return prompt;
    return prompt.first(job->request.fresh ? 1 : std::min(std::max<size_t>(n_scored, 1), prompt.size()));
  }
  std::span<const TokenId> held() const { return std::span(tokens).first(n_computed); }
};

using ServedSequences = std::vector<std::unique_ptr<ServedSequence>>;

}  // namespace spillway
