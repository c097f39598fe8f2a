// SPDX-License-Identifier: MIT
#include "serving/slot_answer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/saturating_sub.h"
#include "serving/token_scores.h"

namespace spillway {
namespace {

// The slot's tokens without the older half of what is behind those to keep. Empty: there is nothing to forget.
std::vector<TokenId> shifted(const ServingSlot& slot) {
  const size_t n_keep = std::min(slot.job->request.n_keep, slot.tokens.size() / 2);
  const size_t n_discard = (slot.tokens.size() - n_keep) / 2;
  // What is left of an image would be another.
  if (n_discard == 0 || next_image(slot.tokens, 0) < slot.tokens.size()) return {};
  std::vector<TokenId> tokens = slot.tokens;
  const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(n_keep);
  tokens.erase(begin, begin + static_cast<std::ptrdiff_t>(n_discard));
  return tokens;
}

}  // namespace

size_t SlotAnswer::context_tokens(const GenerateRequest& request) const {
  const size_t all = request.n_ctx > 0 ? std::min<size_t>(request.n_ctx, engine_.model().n_ctx) : engine_.model().n_ctx;
  return saturating_sub(all, surplus_tokens(request.prompt, request.images));
}

void SlotAnswer::begin(ServingSlot& slot) {
  const GenerateRequest& request = slot.job->request;
  slot.n_answer = 0;
  slot.written_bytes = slot.shown_bytes = 0;
  slot.stops = StopMatcher(request.stop);
  slot.utf8 = Utf8Buffer();
  slot.trigger_tail.clear();
  SamplingOptions sampling = request.sampling;
  slot.grammar_due = sampling.grammar != nullptr && !request.grammar_after.empty();
  if (slot.grammar_due) sampling.grammar.reset();
  make_sampler(slot, sampling);
}

void SlotAnswer::score_prompt_token(ServingSlot& slot, size_t at, int32_t output) {
  slot.n_scored = at + 1;
  TokenScore score{.id = slot.tokens[at], .bytes = {}, .logprob = std::numeric_limits<float>::quiet_NaN()};
  if (output >= 0) score = score_token(engine_.logits(output), slot.tokens[at], slot.job->request.top_scores);
  add_text(score);
  slot.job->ticket->publish_prompt_score(std::move(score));
}

void SlotAnswer::add_text(TokenScore& score) const {
  score.bytes = engine_.token_text(score.id, true);
  for (TokenScore& other : score.top) other.bytes = engine_.token_text(other.id, true);
}

AnswerStep SlotAnswer::advance(ServingSlot& slot, int32_t output) {
  if (slot.in_prompt()) {
    slot.prompt_s = slot.since_begin.elapsed_s();
    slot.at_answer = engine_.stats();
  }
  const GenerateRequest& request = slot.job->request;
  if (request.max_tokens == 0) return {.end = FinishReason::kMaxTokens};
  if (slot.job->ticket->enough()) return {.end = FinishReason::kEnd};
  if (engine_.logits(output).empty())
    return {.failure =
                Status(Code::kUnsupported, "this model computes embeddings, not text: it cannot answer a prompt")};
  const Result<TokenId> chosen = slot.sampler->sample(output);
  if (!chosen) return {.failure = chosen.error()};
  const TokenId id = *chosen;
  if (!request.ignore_eos && engine_.ends_generation(id)) return {.end = FinishReason::kEnd};
  return append(slot, id, output);
}

AnswerStep SlotAnswer::append(ServingSlot& slot, TokenId id, int32_t output) {
  const GenerateRequest& request = slot.job->request;
  slot.tokens.push_back(id);
  ++slot.n_answer;
  const std::string piece = engine_.token_text(id, request.special_text);
  std::optional<TokenScore> score;
  if (request.scores) {
    score = score_token(engine_.logits(output), id, request.top_scores);
    add_text(*score);
  }
  const std::string shown = slot.stops.push(piece);
  slot.written_bytes += piece.size();
  slot.shown_bytes += shown.size();
  slot.job->ticket->publish_text(slot.utf8.push(shown), std::move(score));
  if (slot.stops.stopped()) return {.end = FinishReason::kStopString};
  if (request.max_tokens > 0 && slot.n_answer >= static_cast<size_t>(request.max_tokens))
    return {.end = FinishReason::kMaxTokens};
  AnswerStep step;
  if (slot.tokens.size() >= context_tokens(request)) {
    if (request.shift) step.shifted = shifted(slot);
    if (step.shifted.empty()) return {.end = FinishReason::kContextFull};
  }
  if (!slot.grammar_due) return step;
  slot.trigger_tail += piece;
  start_grammar_when_due(slot);
  return step;
}

std::vector<TokenId> SlotAnswer::tokens_before_stop(const ServingSlot& slot) const {
  std::vector<TokenId> tokens = slot.tokens;
  const bool special = slot.job->request.special_text;
  size_t surplus_bytes = slot.written_bytes - slot.shown_bytes;
  for (size_t n = std::min(slot.n_answer, tokens.size()); n > 0 && surplus_bytes > 0; --n) {
    const std::string piece = engine_.token_text(tokens.back(), special);
    tokens.pop_back();
    if (piece.size() <= surplus_bytes) {
      surplus_bytes -= piece.size();
      continue;
    }
    // The stop string began within it.
    const auto rest = engine_.tokenize(piece.substr(0, piece.size() - surplus_bytes), false, false);
    if (rest) tokens.insert(tokens.end(), rest->begin(), rest->end());
    surplus_bytes = 0;
  }
  return tokens;
}

void SlotAnswer::make_sampler(ServingSlot& slot, const SamplingOptions& sampling) {
  slot.sampler = engine_.make_sampler(sampling);
  for (const TokenId id : slot.tokens)
    if (!is_image_place(id)) slot.sampler->accept(id);
}

void SlotAnswer::start_grammar_when_due(ServingSlot& slot) {
  const GenerateRequest& request = slot.job->request;
  if (slot.trigger_tail.find(request.grammar_after) == std::string::npos) {
    const size_t keep = std::min(slot.trigger_tail.size(), request.grammar_after.size());
    slot.trigger_tail.erase(0, slot.trigger_tail.size() - keep);
    return;
  }
  slot.grammar_due = false;
  make_sampler(slot, request.sampling);
}

}  // namespace spillway
