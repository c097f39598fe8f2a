// SPDX-License-Identifier: MIT
#include "serving/sequence_answer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/saturating_sub.h"
#include "serving/token_scores.h"

namespace spillway {
namespace {

// The sequence's tokens without the older half of what is behind those to keep. Empty: there is nothing to forget.
std::vector<TokenId> shifted(const ServedSequence& sequence) {
  const size_t n_keep = std::min(sequence.job->request.n_keep, sequence.tokens.size() / 2);
  const size_t n_discard = (sequence.tokens.size() - n_keep) / 2;
  // What is left of an image would be another.
  if (n_discard == 0 || next_image(sequence.tokens, 0) < sequence.tokens.size()) return {};
  std::vector<TokenId> tokens = sequence.tokens;
  const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(n_keep);
  tokens.erase(begin, begin + static_cast<std::ptrdiff_t>(n_discard));
  return tokens;
}

}  // namespace

size_t SequenceAnswer::context_tokens(const GenerateRequest& request) const {
  const size_t all = request.n_ctx > 0 ? std::min<size_t>(request.n_ctx, engine_.model().n_ctx) : engine_.model().n_ctx;
  return saturating_sub(all, surplus_tokens(request.prompt, request.images));
}

void SequenceAnswer::begin(ServedSequence& sequence) {
  const GenerateRequest& request = sequence.job->request;
  sequence.n_answer = 0;
  sequence.written_bytes = sequence.shown_bytes = 0;
  sequence.stops = StopMatcher(request.stop);
  sequence.utf8 = Utf8Buffer();
  sequence.trigger_tail.clear();
  SamplingOptions sampling = request.sampling;
  sequence.grammar_due = sampling.grammar != nullptr && !request.grammar_after.empty();
  if (sequence.grammar_due) sampling.grammar.reset();
  make_sampler(sequence, sampling);
}

void SequenceAnswer::score_prompt_token(ServedSequence& sequence, size_t at, std::optional<int32_t> output) {
  sequence.n_scored = at + 1;
  TokenScore score{.id = sequence.tokens[at], .bytes = {}, .logprob = std::numeric_limits<float>::quiet_NaN()};
  if (output) score = score_token(engine_.logits(*output), sequence.tokens[at], sequence.job->request.top_scores);
  add_text(score);
  sequence.job->ticket->publish_prompt_score(std::move(score));
}

void SequenceAnswer::add_text(TokenScore& score) const {
  score.bytes = engine_.token_text(score.id, true);
  for (TokenScore& other : score.top) other.bytes = engine_.token_text(other.id, true);
}

AnswerStep SequenceAnswer::advance(ServedSequence& sequence, int32_t output) {
  if (sequence.in_prompt()) {
    sequence.prompt_s = sequence.since_begin.elapsed_s();
    sequence.at_answer = engine_.stats();
  }
  const GenerateRequest& request = sequence.job->request;
  if (request.max_tokens == 0) return {.end = FinishReason::kMaxTokens};
  if (sequence.job->ticket->enough()) return {.end = FinishReason::kEnd};
  if (engine_.logits(output).empty())
    return {.failure =
                Status(Code::kUnsupported, "this model computes embeddings, not text: it cannot answer a prompt")};
  const Result<TokenId> chosen = sequence.sampler->sample(output);
  if (!chosen) return {.failure = chosen.error()};
  const TokenId id = *chosen;
  if (!request.ignore_eos && engine_.ends_generation(id)) return {.end = FinishReason::kEnd};
  return append(sequence, id, output);
}

AnswerStep SequenceAnswer::append(ServedSequence& sequence, TokenId id, int32_t output) {
  const GenerateRequest& request = sequence.job->request;
  sequence.tokens.push_back(id);
  ++sequence.n_answer;
  const std::string piece = engine_.token_text(id, request.special_text);
  std::optional<TokenScore> score;
  if (request.scores) {
    score = score_token(engine_.logits(output), id, request.top_scores);
    add_text(*score);
  }
  const std::string shown = sequence.stops.push(piece);
  sequence.written_bytes += piece.size();
  sequence.shown_bytes += shown.size();
  sequence.job->ticket->publish_text(sequence.utf8.push(shown), std::move(score));
  if (sequence.stops.stopped()) return {.end = FinishReason::kStopString};
  if (request.max_tokens > 0 && sequence.n_answer >= static_cast<size_t>(request.max_tokens))
    return {.end = FinishReason::kMaxTokens};
  AnswerStep step;
  if (sequence.tokens.size() >= context_tokens(request)) {
    if (request.shift) step.shifted = shifted(sequence);
    if (step.shifted.empty()) return {.end = FinishReason::kContextFull};
  }
  if (!sequence.grammar_due) return step;
  sequence.trigger_tail += piece;
  start_grammar_when_due(sequence);
  return step;
}

std::vector<TokenId> SequenceAnswer::tokens_before_stop(const ServedSequence& sequence) const {
  std::vector<TokenId> tokens = sequence.tokens;
  const bool special = sequence.job->request.special_text;
  size_t surplus_bytes = sequence.written_bytes - sequence.shown_bytes;
  for (size_t n = std::min(sequence.n_answer, tokens.size()); n > 0 && surplus_bytes > 0; --n) {
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

void SequenceAnswer::make_sampler(ServedSequence& sequence, const SamplingOptions& sampling) {
  sequence.sampler = engine_.make_sampler(sampling);
  for (const TokenId id : sequence.tokens)
    if (!is_image_place(id)) sequence.sampler->accept(id);
}

void SequenceAnswer::start_grammar_when_due(ServedSequence& sequence) {
  const GenerateRequest& request = sequence.job->request;
  if (sequence.trigger_tail.find(request.grammar_after) == std::string::npos) {
    const size_t keep = std::min(sequence.trigger_tail.size(), request.grammar_after.size());
    sequence.trigger_tail.erase(0, sequence.trigger_tail.size() - keep);
    return;
  }
  sequence.grammar_due = false;
  make_sampler(sequence, request.sampling);
}

}  // namespace spillway
