// SPDX-License-Identifier: MIT
#include "cli/run/generator.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "engine/prompt_parts.h"

namespace spillway {

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEnd:
      return "end";
    case StopReason::kStopString:
      return "stop-string";
    case StopReason::kMaxTokens:
      return "max-tokens";
    case StopReason::kContextFull:
      return "context-full";
    case StopReason::kTeacherEnded:
      return "teacher-ended";
    case StopReason::kInterrupted:
      return "interrupted";
    case StopReason::kOutputClosed:
      return "output-closed";
  }
  return "?";
}

// An answer while it grows.
struct Generator::Answer {
  Generation result;
  StopMatcher stops;
  Fnv1a hash;
  std::vector<std::string> pieces;  // [n_tokens]
  size_t passes = 0;                // decode passes, warm-up included
  Stopwatch since_start;

  RunMeasurement& measured() { return result.measured; }
};

Generator::Generator(Engine& engine, GenerationOptions options)
    : engine_(engine), options_(std::move(options)), sampler_(engine.make_sampler(options_.sampling)) {}

Result<Generation> Generator::generate(std::span<const TokenId> prompt, const GenerationHooks& hooks) {
  Answer answer{.result = {}, .stops = StopMatcher(options_.stop), .hash = {}, .pieces = {}, .since_start = {}};
  RunMeasurement& measured = answer.measured();
  measured.prompt_tokens = prompt.size();
  measured.at_begin = engine_.stats();

  // 1. The prompt.
  RETURN_IF_ERROR(prefill(prompt, hooks));
  measured.prefill_s = answer.since_start.elapsed_s();
  measured.at_decode = engine_.stats();

  // 2. Token after token. A pass is only computed when one more token is wanted from it.
  std::optional<StopReason> reason;
  while (!(reason = limit_reached(answer))) {
    if (!answer.pieces.empty()) {
      const auto computed = compute_last(answer);
      if (!computed && computed.error().code() == Code::kCancelled)
        reason = StopReason::kInterrupted;
      else if (!computed)
        return Failure(computed.error());
    }
    if (hooks.is_interrupted && hooks.is_interrupted()) reason = StopReason::kInterrupted;
    if (reason) break;
    ASSIGN_OR_RETURN(const std::optional<TokenId> id, choose(answer));
    if (!id)
      reason = StopReason::kEnd;
    else
      reason = append(answer, *id, hooks);
    if (reason) break;
  }
  measured.at_end = engine_.stats();
  answer.result.stop_reason = *reason;

  // 3. What was held back.
  const std::string rest = answer.stops.finish();
  answer.result.text += rest;
  if (hooks.on_text && !rest.empty()) hooks.on_text(rest);
  if (options_.hash_logits) answer.result.logits_hash = answer.hash.value();
  return std::move(answer.result);
}

Result<void> Generator::prefill(std::span<const TokenId> prompt, const GenerationHooks& hooks) {
  CHECK(n_past_ == 0);
  std::vector<TokenId> tokens(prompt.begin(), prompt.end());
  if (tokens.empty()) return error(Code::kInvalidArgument, "the prompt is empty");
  if (engine_.model().has_encoder) {
    RETURN_IF_ERROR(encode_prompt(tokens));
    tokens = {engine_.decoder_start_token()};
  }
  RETURN_IF_ERROR(check_teacher());
  const size_t room = engine_.model().n_ctx;
  if (tokens.size() > room)
    return error(
        Code::kInvalidArgument,
        fmt::format("the prompt has {} tokens and the context room for {}; raise --context", tokens.size(), room));
  if (!images_are_whole(tokens, options_.images))
    return error(Code::kInvalidArgument, fmt::format("token id {} is outside the vocabulary of {} tokens",
                                                     tokens[next_image(tokens, 0)], engine_.model().n_vocab));
  if (is_image_place(tokens.back()))
    return error(Code::kInvalidArgument, "the prompt ends with an image: text has to follow it");
  return compute_prompt(tokens, hooks);
}

// Its last token is never computed with, where the engine would refuse it.
Result<void> Generator::check_teacher() const {
  if (!options_.teacher) return {};
  const int32_t n_vocab = engine_.model().n_vocab;
  for (const TokenId id : *options_.teacher)
    if (id < 0 || id >= n_vocab)
      return error(Code::kInvalidArgument,
                   fmt::format("--teacher-tokens: token id {} is outside the vocabulary of {} tokens", id, n_vocab));
  return {};
}

Result<void> Generator::compute_prompt(std::span<const TokenId> tokens, const GenerationHooks& hooks) {
  std::vector<BatchToken> batch;
  size_t text_begin = 0;  // of the text between images; without any, all of it
  for (size_t done = 0, n = 0; done < tokens.size(); done += n) {
    if (hooks.is_interrupted && hooks.is_interrupted()) return error(Code::kCancelled, "stopped");
    if (hooks.on_prefill) hooks.on_prefill(done, tokens.size());
    if (is_image_place(tokens[done])) {
      const PromptImage& image = *options_.images.at(tokens[done]);
      RETURN_IF_ERROR(engine_.decode_image(image, 0, n_past_));
      n = image.n_positions;
      text_begin = done + n;
    } else {
      // Cut where the server cuts, so that the same prompt gets the same bits.
      const size_t room = std::min<size_t>(options_.n_batch, engine_.pass_tokens_max());
      const size_t text_end = next_image(tokens, done);
      n = part_end(text_end - text_begin, done - text_begin, std::max<size_t>(room, 1)) - (done - text_begin);
      batch.clear();
      for (const TokenId id : tokens.subspan(done, n))
        batch.push_back({.id = id, .pos = n_past_ + static_cast<int32_t>(batch.size())});
      batch.back().want_logits = done + n == tokens.size();
      RETURN_IF_ERROR(engine_.decode(batch));
    }
    n_past_ += static_cast<int32_t>(n);
  }
  if (hooks.on_prefill) hooks.on_prefill(tokens.size(), tokens.size());
  for (const TokenId id : tokens)
    if (!is_image_place(id)) sampler_->accept(id);
  return {};
}

Result<void> Generator::encode_prompt(std::span<const TokenId> prompt) {
  std::vector<BatchToken> batch;
  for (const TokenId id : prompt) batch.push_back({.id = id, .pos = static_cast<int32_t>(batch.size())});
  return engine_.encode(batch);
}

std::optional<StopReason> Generator::limit_reached(const Answer& answer) const {
  const size_t n = answer.pieces.size();
  if (options_.max_tokens >= 0 && n >= static_cast<size_t>(options_.max_tokens)) return StopReason::kMaxTokens;
  if (options_.teacher && n >= options_.teacher->size()) return StopReason::kTeacherEnded;
  if (n > 0 && static_cast<uint32_t>(n_past_) >= engine_.model().n_ctx) return StopReason::kContextFull;
  return std::nullopt;
}

Result<void> Generator::compute_last(Answer& answer) {
  RunMeasurement& measured = answer.measured();
  const bool counted = answer.passes >= options_.warmup_tokens;
  if (answer.passes == options_.warmup_tokens) measured.at_decode = engine_.stats();
  const BatchToken token{.id = answer.result.tokens.back(), .pos = n_past_, .want_logits = true};
  const Stopwatch watch;
  RETURN_IF_ERROR(engine_.decode(std::span(&token, 1)));
  ++n_past_;
  ++answer.passes;
  if (!counted) return {};
  measured.decode_s += watch.elapsed_s();
  ++measured.decode_tokens;
  return {};
}

// nullopt: the model says that the answer ends.
Result<std::optional<TokenId>> Generator::choose(Answer& answer) {
  const std::span<const float> logits = engine_.logits(-1);
  if (logits.empty())
    return error(Code::kUnsupported, "this model computes embeddings, not text: it cannot answer a prompt");
  if (options_.hash_logits) answer.hash.add(logits.data(), logits.size_bytes());
  RunMeasurement& measured = answer.measured();
  const Stopwatch watch;
  const size_t n = answer.pieces.size();
  TokenId id = 0;
  if (options_.teacher) {
    id = (*options_.teacher)[n];
  } else {
    ASSIGN_OR_RETURN(id, sampler_->sample(-1));
  }
  if (measured.decode_tokens > 0) measured.decode_s += watch.elapsed_s();
  if (n == 0) measured.first_token_s = answer.since_start.elapsed_s();
  if (!options_.teacher && !options_.ignore_eos && engine_.ends_generation(id)) return std::nullopt;
  return id;
}

std::optional<StopReason> Generator::append(Answer& answer, TokenId id, const GenerationHooks& hooks) {
  answer.result.tokens.push_back(id);
  answer.pieces.push_back(text_of(answer, id));
  const std::string shown = answer.stops.push(answer.pieces.back());
  answer.result.text += shown;
  if (hooks.on_text && !shown.empty() && !hooks.on_text(shown)) return StopReason::kOutputClosed;
  if (answer.stops.stopped()) return StopReason::kStopString;
  return std::nullopt;
}

std::string Generator::text_of(const Answer& answer, TokenId id) const {
  if (options_.as_ids) return fmt::format("{}{}", answer.pieces.empty() ? "" : " ", id);
  return engine_.token_text(id, options_.special_text);
}

}  // namespace spillway
