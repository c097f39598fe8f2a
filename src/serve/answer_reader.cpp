// SPDX-License-Identifier: MIT
#include "serve/answer_reader.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/saturating_sub.h"
#include "serve/last_words.h"
#include "serve/random_id.h"

namespace spillway {
namespace {

// Below it nothing is counted: a few parts that a client has not read yet.
constexpr uint64_t kUncountedBytes = 256 << 10;

AnswerReader::Step failed(Status status) {
  return {.kind = AnswerReader::Step::kFailure, .counted = {}, .part = {}, .end = {}, .failure = std::move(status)};
}

AnswerReader::Step ended(AnswerEnd end) {
  return {.kind = AnswerReader::Step::kEnd, .counted = {}, .part = {}, .end = std::move(end), .failure = {}};
}

uint64_t bytes_of(const TokenScore& score) { return sizeof score * (1 + score.top.size()); }

size_t begin_of_character(const std::string& text, size_t at) {
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0u) == 0x80) --at;
  return at;
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
    if (ticket_ != nullptr) ticket_->end_now();
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

// What is counted stays so until the reply ends: more of the same comes.
bool AnswerReader::holds(std::vector<TokenScore> scores) {
  for (TokenScore& score : scores) {
    scores_bytes_ += bytes_of(score);
    scores_.push_back(std::move(score));
  }
  if (scores_bytes_ <= std::max(counted_bytes_, kUncountedBytes)) return true;
  const uint64_t more = scores_bytes_ - counted_bytes_;
  counted_bytes_ = scores_bytes_;
  return !may_take_ || may_take_(more);
}

Result<void> AnswerReader::hear(std::chrono::milliseconds patience, std::optional<PromptCount>& counted) {
  TicketUpdate update = ticket_->wait(patience);
  if (phase_ == Phase::kQueued && update.phase != Phase::kQueued) since_prompt_ = Stopwatch();
  phase_ = update.phase;
  prompt_.done = update.prompt_done;
  prompt_.total = update.prompt_tokens;
  prompt_.cached = update.cached_tokens;
  if (!counted_ && update.phase != Phase::kQueued && update.prompt_tokens > 0) {
    counted_ = true;
    counted = PromptCount{update.prompt_tokens, update.cached_tokens};
  }
  text_ += update.text;
  if (!holds(std::move(update.scores)))
    return error(Code::kBusy, "too many log probabilities wait for clients that read slowly, try again");
  outcome_ = std::move(update.outcome);
  if (outcome_) ticket_.reset();
  if (outcome_ && outcome_->failure) return Failure(*outcome_->failure);
  return {};
}

// The text of a part, and its scores: all that waits, or as many scores as one part has and so much text as their
// tokens spell. The last of them come with text, too: there are streams in which scores belong to the text that they
// come with.
std::string AnswerReader::next_text(std::vector<TokenScore>& scores) {
  size_t n_scores = 0, n_bytes = 0;
  while (!scores_.empty()) {
    TokenScore& next = scores_.front();
    if (n_scores > 0 && n_scores + 1 + next.top.size() > kPartScoresMax) break;
    n_scores += 1 + next.top.size();
    n_bytes += next.bytes.size();
    scores_bytes_ -= bytes_of(next);
    scores.push_back(std::move(next));
    scores_.pop_front();
  }
  if (scores_.empty()) return std::exchange(text_, {});
  n_bytes = begin_of_character(text_, std::min(n_bytes, saturating_sub(text_.size(), 1)));
  std::string text = text_.substr(0, n_bytes);
  text_.erase(0, n_bytes);
  return text;
}

AnswerReader::Step AnswerReader::step(std::chrono::milliseconds patience) {
  if (pending_end_) return ended(*std::exchange(pending_end_, std::nullopt));
  if (ticket_ == nullptr && !outcome_) return failed({Code::kInternal, "the answer has ended"});
  Step step;
  if (ticket_ != nullptr) {
    const auto heard = hear(has_more() ? std::chrono::milliseconds(0) : patience, step.counted);
    if (!heard) {
      cancel();
      ticket_.reset();
      outcome_.reset();
      return failed(heard.error());
    }
  }
  if (echo_) step.part.content = *std::exchange(echo_, std::nullopt);
  const std::string text = next_text(step.part.scores);
  if (parser_ == nullptr)
    step.part.content += text;
  else if (!text.empty())
    add(parser_->push(text), step.part);
  if (outcome_ && !has_more()) {
    const Outcome outcome = *std::exchange(outcome_, std::nullopt);
    const bool cut = outcome.reason == FinishReason::kMaxTokens || outcome.reason == FinishReason::kContextFull;
    if (parser_ != nullptr) add(parser_->finish(cut), step.part);
    pending_end_ = end_of(outcome);
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
