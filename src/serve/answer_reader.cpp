// SPDX-License-Identifier: MIT
#include "serve/answer_reader.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "serve/last_words.h"
#include "serve/random_id.h"

namespace spillway {
namespace {

AnswerReader::Step failed(Status status) {
  return {.kind = AnswerReader::Step::kFailure, .counted = {}, .part = {}, .end = {}, .failure = std::move(status)};
}

AnswerReader::Step ended(AnswerEnd end) {
  return {.kind = AnswerReader::Step::kEnd, .counted = {}, .part = {}, .end = std::move(end), .failure = {}};
}

}  // namespace

Result<std::unique_ptr<AnswerReader>> AnswerReader::start(const LoadedModel& model, const Call& call,
                                                          PreparedCall prepared, std::optional<std::string> echo) {
  std::unique_ptr<OutputParser> parser;
  if (prepared.parser) parser = OutputParser::make(std::move(*prepared.parser));
  ASSIGN_OR_RETURN(auto ticket, model.scheduler->submit(std::move(prepared.request)));
  return std::unique_ptr<AnswerReader>(
      new AnswerReader(model, call, std::move(parser), std::move(ticket), std::move(echo)));
}

// Where there is no memory to tell of it, the decode thread finds the ticket cancelled all the same.
AnswerReader::~AnswerReader() {
  try {
    cancel();
  } catch (const std::exception& e) {
    notice_if_possible("the end of an answer", e.what());
  }
}

void AnswerReader::cancel() {
  if (ticket_ != nullptr) model_.scheduler->cancel(*ticket_);
}

CallProgress AnswerReader::progress() const {
  CallProgress now = prompt_;
  now.phase = CallProgress::Phase::kPrompt;
  now.elapsed_s = since_prompt_.elapsed_s();
  now.n_ctx = model_.scheduler->n_ctx();
  return now;
}

void AnswerReader::add(OutputDelta delta, AnswerPart& part) {
  if (answered_) return;
  part.content += delta.content;
  part.thinking += delta.thinking;
  thoughts_ += delta.thinking;
  for (ToolCall& call : delta.tool_calls) {
    if (call.id.empty()) call.id = random_id("call_", 8);
    part.tool_calls.push_back(std::move(call));
    called_tools_ = true;
    if (several_calls_) continue;
    // One call was asked for: whatever the model would go on with is not waited for.
    answered_ = true;
    ticket_->end_now();
    break;
  }
}

AnswerEnd AnswerReader::end_of(const Outcome& outcome) const {
  AnswerEnd end;
  end.reason = outcome.reason;
  // A stop string of the model's own ends an answer as the model itself does.
  if (outcome.reason == FinishReason::kStopString &&
      (!stop_ || std::find(stop_->begin(), stop_->end(), outcome.stop_string) == stop_->end()))
    end.reason = FinishReason::kEnd;
  else
    end.stop_string = outcome.stop_string;
  end.called_tools = called_tools_;
  end.ends_with_call = answered_ || (parser_ != nullptr && parser_->ends_with_call());
  if (!thoughts_.empty())
    if (const auto tokens = model_.engine->tokenize(thoughts_, false, false))
      end.thinking_tokens = std::min(tokens->size(), outcome.answer_tokens);
  end.prompt_tokens = outcome.prompt_tokens;
  end.cached_tokens = outcome.cached_tokens;
  end.answer_tokens = outcome.answer_tokens;
  end.prompt_s = outcome.prompt_s;
  end.decode_s = outcome.decode_s;
  end.context = outcome.context;
  end.at_begin = outcome.at_begin;
  end.at_answer = outcome.at_answer;
  end.at_end = outcome.at_end;
  return end;
}

AnswerReader::Step AnswerReader::step(std::chrono::milliseconds patience) {
  if (pending_end_) return ended(*std::exchange(pending_end_, std::nullopt));
  if (ticket_ == nullptr) return failed({Code::kInternal, "the answer has ended"});
  TicketUpdate update = ticket_->wait(patience);
  if (phase_ == Phase::kQueued && update.phase != Phase::kQueued) since_prompt_ = Stopwatch();
  phase_ = update.phase;
  prompt_.done = update.prompt_done;
  prompt_.total = update.prompt_tokens;
  prompt_.cached = update.cached_tokens;
  Step step;
  if (!counted_ && update.phase != Phase::kQueued && update.prompt_tokens > 0) {
    counted_ = true;
    step.counted = PromptCount{update.prompt_tokens, update.cached_tokens};
  }
  if (echo_) step.part.content = *std::exchange(echo_, std::nullopt);
  if (parser_ == nullptr)
    step.part.content += update.text;
  else if (!update.text.empty())
    add(parser_->push(update.text), step.part);
  step.part.scores = std::move(update.scores);
  if (update.outcome) {
    const Outcome& outcome = *update.outcome;
    if (outcome.failure) {
      ticket_.reset();
      return failed(*outcome.failure);
    }
    const bool cut = outcome.reason == FinishReason::kMaxTokens || outcome.reason == FinishReason::kContextFull;
    if (parser_ != nullptr) add(parser_->finish(cut), step.part);
    pending_end_ = end_of(outcome);
    ticket_.reset();
  }
  if (!step.part.empty()) {
    step.kind = Step::kPart;
    return step;
  }
  if (!pending_end_) return step;
  step.kind = Step::kEnd;
  step.end = *std::exchange(pending_end_, std::nullopt);
  return step;
}

}  // namespace spillway
