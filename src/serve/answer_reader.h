// SPDX-License-Identifier: MIT
// An answer as it comes: what the scheduler tells of a request, taken apart into text, thoughts and calls of tools. The
// one loop behind every protocol and behind the chat of a terminal.
//
// Of an answer with log probabilities a client that reads slowly leaves many behind. They come in parts all the same,
// and what waits here counts among the bodies of requests.
//
// Threads: one, that of the request. Lifetime: the model outlives it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "chat/output_parser.h"
#include "serve/call.h"
#include "serve/prepared_call.h"

namespace spillway {

class AnswerReader {
 public:
  struct Step {
    enum Kind { kWaiting, kPart, kEnd, kFailure } kind = kWaiting;
    std::optional<PromptCount> counted;  // with one step, before or with the first part
    AnswerPart part;
    AnswerEnd end;
    std::optional<Status> failure;
    size_t choice = 0;  // of a group
  };

  // Hands the request to the model's scheduler. `echo`: text that the answer begins with.
  //   errors of Scheduler::submit
  static Result<std::unique_ptr<AnswerReader>> start(const LoadedModel& model, const Call& call, PreparedCall prepared,
                                                     std::optional<std::string> echo = std::nullopt);
  // Ends the request where it has not ended.
  ~AnswerReader();
  AnswerReader(const AnswerReader&) = delete;
  AnswerReader& operator=(const AnswerReader&) = delete;

  // What comes next, or kWaiting after `patience`. After kEnd or kFailure there is nothing more. The times of a load,
  // and of all together, are for the caller to fill in.
  //   Busy   more log probabilities wait for the client than there is room for
  Step step(std::chrono::milliseconds patience);

  // With the tops of each. As JSON some 150 KB.
  static constexpr size_t kPartScoresMax = 1000;

  // Breaks the request off: a failure follows, Cancelled, unless it has ended.
  void cancel();

  Phase phase() const { return phase_; }
  CallProgress progress() const;  // while phase() is kPrompt

 private:
  AnswerReader(const LoadedModel& model, const Call& call, std::unique_ptr<OutputParser> parser,
               std::shared_ptr<Ticket> ticket, std::optional<std::string> echo)
      : model_(model),
        several_calls_(call.several_calls),
        stop_(call.options.stop),
        may_take_(call.may_take),
        parser_(std::move(parser)),
        ticket_(std::move(ticket)),
        echo_(std::move(echo)) {}
  Result<void> hear(std::chrono::milliseconds patience, std::optional<PromptCount>& counted);
  bool holds(std::vector<TokenScore> scores);
  std::string next_text(std::vector<TokenScore>& scores);
  bool has_more() const { return !text_.empty() || !scores_.empty(); }
  void add(OutputDelta delta, AnswerPart& part);
  AnswerEnd end_of(const Outcome& outcome) const;

  const LoadedModel& model_;
  const bool several_calls_;
  const std::optional<std::vector<std::string>> stop_;  // that the call asked for
  const std::function<bool(uint64_t bytes)> may_take_;  // as of the call
  const std::unique_ptr<OutputParser> parser_;          // null: the answer is text as it is
  std::shared_ptr<Ticket> ticket_;                      // shared with the scheduler; null: it has ended
  // What came and is in no part yet; the first score is of the first text, or of one that was before.
  std::string text_;
  std::deque<TokenScore> scores_;
  uint64_t scores_bytes_ = 0, counted_bytes_ = 0;  // that wait, and that may_take_ knows of: the most that waited
  std::optional<Outcome> outcome_;                 // behind all that waits
  std::optional<std::string> echo_;
  bool counted_ = false, called_tools_ = false;
  bool answered_ = false;  // what was asked for is there, and nothing that follows is passed on
  std::string thoughts_;
  Phase phase_ = Phase::kQueued;
  CallProgress prompt_;  // as of the last update
  Stopwatch since_prompt_;
  std::optional<AnswerEnd> pending_end_;
};

}  // namespace spillway
