// SPDX-License-Identifier: MIT
#include "cli/run/conversation.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/saturating_sub.h"

namespace spillway {
namespace {

constexpr std::chrono::milliseconds kStepPatience{50};

StopReason reason_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEnd:
      return StopReason::kEnd;
    case FinishReason::kStopString:
      return StopReason::kStopString;
    case FinishReason::kMaxTokens:
      return StopReason::kMaxTokens;
    case FinishReason::kContextFull:
      return StopReason::kContextFull;
  }
  return StopReason::kEnd;
}

void take_figures(const AnswerEnd& end, Generation& generation) {
  generation.stop_reason = reason_of(end.reason);
  if (end.context.size() > end.prompt_tokens)
    generation.tokens.assign(end.context.begin() + static_cast<std::ptrdiff_t>(end.prompt_tokens), end.context.end());
  // The last token of an answer that was cut is not computed; the one that ended it was chosen, and is no part of it.
  const size_t n_passes = end.answer_tokens + (end.reason == FinishReason::kEnd ? 1 : 0);
  generation.measured = {.prompt_tokens = end.prompt_tokens - end.cached_tokens,
                         .prefill_s = end.prompt_s,
                         .first_token_s = end.prompt_s,
                         .decode_tokens = saturating_sub(n_passes, 1),
                         .decode_s = end.decode_s,
                         .at_begin = end.at_begin,
                         .at_decode = end.at_answer,
                         .at_end = end.at_end};
}

}  // namespace

Conversation::Conversation(const LoadedModel& model, const RunOptions& options, Note on_note)
    : model_(model), options_(options), on_note_(std::move(on_note)) {}

void Conversation::set_system(std::string system) {
  options_.system = std::move(system);
  clear();
}

Result<Generation> Conversation::say(Message message, const ConversationHooks& hooks) {
  messages_.push_back(std::move(message));
  auto generation = answer(hooks);
  if (!generation) {
    messages_.pop_back();
    return generation;
  }
  messages_.push_back({.role = "assistant", .content = generation->text, .thinking = generation->thinking});
  return generation;
}

Result<Generation> Conversation::answer(const ConversationHooks& hooks) {
  ASSIGN_OR_RETURN(PreparedCall prepared, prepare_answer(model_, options_, messages_, true));
  if (prepared.n_cut > 0 && !std::exchange(told_of_cut_, true))
    on_note_(fmt::format("the context of {} tokens is full; the oldest messages are left out (see --context)",
                         model_.info.n_ctx));
  Call call;
  call.options.stop = options_.generation.stop;
  ASSIGN_OR_RETURN(const auto reader, AnswerReader::start(model_, call, std::move(prepared)));
  Generation generation;
  std::optional<StopReason> broken_off;
  const auto break_off = [&](StopReason why) {
    if (!std::exchange(broken_off, broken_off.value_or(why))) reader->cancel();
  };
  for (;;) {
    if (hooks.is_interrupted && hooks.is_interrupted()) break_off(StopReason::kInterrupted);
    const AnswerReader::Step step = reader->step(kStepPatience);
    if (hooks.on_prompt && reader->phase() == Phase::kPrompt) {
      const CallProgress progress = reader->progress();
      hooks.on_prompt(progress.done, progress.total);
    }
    generation.text += step.part.content;
    generation.thinking += step.part.thinking;
    if (hooks.on_part && !step.part.empty() && !hooks.on_part(step.part)) break_off(StopReason::kOutputClosed);
    if (step.kind == AnswerReader::Step::kEnd) {
      take_figures(step.end, generation);
      if (broken_off) generation.stop_reason = *broken_off;
      return generation;
    }
    if (step.kind != AnswerReader::Step::kFailure) continue;
    if (!broken_off || step.failure->code() != Code::kCancelled || generation.text.empty())
      return Failure(*step.failure);
    generation.stop_reason = *broken_off;
    return generation;
  }
}

}  // namespace spillway
