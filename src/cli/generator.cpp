// SPDX-License-Identifier: MIT
#include "cli/generator.h"

#include <fmt/format.h>

#include <algorithm>

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
  int32_t begin_pos = 0;            // of its first token in the context
  size_t passes = 0;                // decode passes, warm-up included
  Stopwatch since_start;

  RunMeasurement& measured() { return result.measured; }
};

Generator::Generator(Engine& engine, GenerationOptions options)
    : engine_(engine), options_(std::move(options)), sampler_(engine.make_sampler(options_.sampling)) {}

Result<Generation> Generator::generate(std::span<const TokenId> prompt, const GenerationHooks& hooks) {
  Answer answer{.result = {}, .stops = StopMatcher(options_.stop), .hash = {}, .pieces = {}, .since_start = {}};
  RunMeasurement& measured = answer.measured();
  measured.prompt_tokens = prompt.size() + pending_.size();
  measured.at_begin = engine_.stats();

  // 1. The prompt.
  RETURN_IF_ERROR(prefill(prompt, hooks));
  measured.prefill_s = answer.since_start.elapsed_s();
  measured.at_decode = engine_.stats();
  answer.begin_pos = n_past_;

  // 2. Token after token. A pass is only computed when one more token is wanted from it.
  std::optional<StopReason> reason;
  while (!(reason = limit_reached(answer))) {
    if (!pending_.empty() && !answer.pieces.empty()) {
      const auto computed = compute_pending(answer);
      if (!computed && computed.error().code() == Code::kCancelled)
        reason = StopReason::kInterrupted;
      else if (!computed)
        return tl::unexpected<Status>(computed.error());
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

  // 3. What was held back, and what the context should not keep.
  const std::string rest = answer.stops.finish();
  answer.result.text += rest;
  if (hooks.on_text && !rest.empty()) hooks.on_text(rest);
  for (const std::string& piece : answer.pieces) answer.result.context_text += piece;
  if (answer.stops.stopped()) cut_stop_string(answer);
  if (options_.hash_logits) answer.result.logits_hash = answer.hash.value();
  return std::move(answer.result);
}

Result<void> Generator::prefill(std::span<const TokenId> prompt, const GenerationHooks& hooks) {
  std::vector<TokenId> tokens = pending_;
  tokens.insert(tokens.end(), prompt.begin(), prompt.end());
  if (tokens.empty()) return error(Code::kInvalidArgument, "the prompt is empty");
  if (engine_.model().has_encoder) {
    RETURN_IF_ERROR(encode_prompt(tokens));
    tokens = {engine_.decoder_start_token()};
  }
  const auto room = static_cast<size_t>(engine_.model().n_ctx) - static_cast<size_t>(n_past_);
  if (tokens.size() > room)
    return error(
        Code::kInvalidArgument,
        fmt::format("the prompt has {} tokens and the context room for {}; raise --context", tokens.size(), room));
  if (!images_are_whole(tokens, options_.images))
    return error(Code::kInvalidArgument, fmt::format("token id {} is outside the vocabulary of {} tokens",
                                                     tokens[next_image(tokens, 0)], engine_.model().n_vocab));
  if (is_image_place(tokens.back()))
    return error(Code::kInvalidArgument, "the prompt ends with an image: text has to follow it");
  const int32_t begin_pos = n_past_;
  auto computed = compute_prompt(tokens, hooks);
  if (computed) {
    pending_.clear();
    return {};
  }
  n_past_ = static_cast<int32_t>(engine_.cut(0, static_cast<size_t>(begin_pos)));
  if (n_past_ == 0) pending_.clear();
  return computed;
}

Result<void> Generator::compute_prompt(std::span<const TokenId> tokens, const GenerationHooks& hooks) {
  std::vector<BatchToken> batch;
  const auto begin = static_cast<size_t>(n_past_);
  size_t text_begin = 0;  // in the context, of the text between images; without any, all of it
  for (size_t done = 0, n = 0; done < tokens.size(); done += n) {
    if (hooks.is_interrupted && hooks.is_interrupted()) return error(Code::kCancelled, "stopped");
    if (hooks.on_prefill) hooks.on_prefill(done, tokens.size());
    const size_t at = begin + done;
    if (is_image_place(tokens[done])) {
      const PromptImage& image = *options_.images.at(tokens[done]);
      RETURN_IF_ERROR(engine_.decode_image(image, 0, n_past_));
      n = image.n_positions;
      text_begin = at + n;
    } else {
      // Cut where the server cuts, so that the same prompt gets the same bits.
      const size_t room = std::min<size_t>(options_.n_batch, engine_.pass_tokens_max());
      const size_t text_end = begin + next_image(tokens, done);
      n = part_end(text_end - text_begin, at - text_begin, std::max<size_t>(room, 1)) - (at - text_begin);
      batch.clear();
      for (const TokenId id : tokens.subspan(done, n))
        batch.push_back({.id = id, .pos = n_past_ + static_cast<int32_t>(batch.size())});
      batch.back().want_logits = done + n == tokens.size();
      RETURN_IF_ERROR(engine_.decode(batch));
    }
    n_past_ += static_cast<int32_t>(n);
  }
  if (hooks.on_prefill) hooks.on_prefill(tokens.size(), tokens.size());
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

Result<void> Generator::compute_pending(Answer& answer) {
  RunMeasurement& measured = answer.measured();
  const bool counted = answer.passes >= options_.warmup_tokens;
  if (answer.passes == options_.warmup_tokens) measured.at_decode = engine_.stats();
  const BatchToken token{.id = pending_.front(), .pos = n_past_, .want_logits = true};
  const Stopwatch watch;
  auto computed = engine_.decode(std::span(&token, 1));
  if (!computed) {
    if (engine_.held(0).n != static_cast<size_t>(n_past_)) forget_all();
    return computed;
  }
  ++n_past_;
  pending_.clear();
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
  const bool ends = engine_.ends_generation(id) ||
                    std::find(options_.end_tokens.begin(), options_.end_tokens.end(), id) != options_.end_tokens.end();
  if (!options_.teacher && !options_.ignore_eos && ends) return std::nullopt;
  return id;
}

std::optional<StopReason> Generator::append(Answer& answer, TokenId id, const GenerationHooks& hooks) {
  answer.result.tokens.push_back(id);
  answer.pieces.push_back(text_of(answer, id));
  pending_ = {id};
  const std::string shown = without_first_blanks(answer, answer.stops.push(answer.pieces.back()));
  answer.result.text += shown;
  if (hooks.on_text && !shown.empty() && !hooks.on_text(shown)) return StopReason::kOutputClosed;
  if (answer.stops.stopped()) return StopReason::kStopString;
  return std::nullopt;
}

// Takes the tokens that lie in or behind the stop string out of the context, where the model can forget them.
void Generator::cut_stop_string(Answer& answer) {
  const size_t shown_bytes = answer.result.skipped_bytes + answer.result.text.size();
  size_t n_kept = 0, bytes = 0;
  while (n_kept < answer.pieces.size() && bytes + answer.pieces[n_kept].size() <= shown_bytes)
    bytes += answer.pieces[n_kept++].size();
  const int32_t kept_pos = answer.begin_pos + static_cast<int32_t>(n_kept);
  if (kept_pos < n_past_) {
    if (engine_.held(0).cut_to(static_cast<size_t>(kept_pos)) == 0) return;
    engine_.cut(0, static_cast<size_t>(kept_pos));
    n_past_ = kept_pos;
  }
  if (kept_pos <= n_past_) pending_.clear();
  answer.result.context_text.resize(bytes);
}

std::string Generator::without_first_blanks(Answer& answer, std::string text) const {
  if (!options_.skips_first_blanks || !answer.result.text.empty()) return text;
  const size_t blanks = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  answer.result.skipped_bytes += blanks;
  return text.substr(blanks);
}

std::string Generator::text_of(const Answer& answer, TokenId id) const {
  if (options_.as_ids) return fmt::format("{}{}", answer.pieces.empty() ? "" : " ", id);
  return engine_.token_text(id, false);
}

void Generator::forget_all() {
  engine_.cut(0, 0);
  n_past_ = 0;
  pending_.clear();
}

}  // namespace spillway
