// SPDX-License-Identifier: MIT
// An answer as it comes: what the scheduler tells of a request, taken apart into text, thoughts and calls of tools. The
// one loop behind every protocol and behind the chat of a terminal.
//
// Threads: one, that of the request. Lifetime: the model outlives it.
#pragma once

#include <chrono>
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
  Step step(std::chrono::milliseconds patience);

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
        parser_(std::move(parser)),
        ticket_(std::move(ticket)),
        echo_(std::move(echo)) {}
  void add(OutputDelta delta, AnswerPart& part);
  AnswerEnd end_of(const Outcome& outcome) const;

  const LoadedModel& model_;
  const bool several_calls_;
  const std::optional<std::vector<std::string>> stop_;  // that the call asked for
  const std::unique_ptr<OutputParser> parser_;          // null: the answer is text as it is
  std::shared_ptr<Ticket> ticket_;                      // shared with the scheduler; null: it has ended
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
