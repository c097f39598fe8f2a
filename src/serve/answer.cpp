// SPDX-License-Identifier: MIT
#include "serve/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/saturating_sub.h"
#include "grammar/grammar.h"
#include "serve/body_reading.h"
#include "serve/json_input.h"
#include "serve/prepared_call.h"

namespace spillway {

AnswerRun::AnswerRun(ModelManager& manager, Call call) : manager_(manager), call_(std::move(call)) {
  request_ = manager_.ask(call_.model, call_.options.num_ctx, call_.keep_alive_s, call_.asker);
}

AnswerRun::Step AnswerRun::step(std::chrono::milliseconds patience) {
  if (request_) {
    auto lease = request_->wait(patience);
    if (!lease) return {};
    request_.reset();
    return after_loading(std::move(*lease));
  }
  if (preparation_ != nullptr) return prepare(patience);
  if (std::exchange(rendered_, false)) return {.kind = Step::kEnd, .counted = {}, .part = {}, .end = {}, .failure = {}};
  if (reader_ == nullptr) return failed({Code::kInternal, "the answer has ended"});
  Step step = reader_->step(patience);
  if (step.kind == Step::kFailure) return failed(std::move(*step.failure));
  step.end.load_s = load_s_;
  step.end.total_s = since_start_.elapsed_s();
  return step;
}

AnswerRun::Step AnswerRun::failed(Status status) const {
  if (lease_) status = in_words_of_clients(status, lease_->entry);
  return {.kind = Step::kFailure, .counted = {}, .part = {}, .end = {}, .failure = std::move(status)};
}

AnswerRun::Step AnswerRun::after_loading(Result<Lease> lease) {
  if (!lease) return failed(lease.error());
  lease_ = std::move(*lease);
  load_s_ = since_start_.elapsed_s();
  if (call_.load_only) {
    AnswerEnd end;
    end.loaded_only = true;
    end.load_s = load_s_;
    end.total_s = since_start_.elapsed_s();
    lease_ = Lease();
    return {.kind = Step::kEnd, .counted = {}, .part = {}, .end = std::move(end), .failure = {}};
  }
  preparation_ = std::make_unique<CallPreparation>(*lease_, call_);
  return prepare(std::chrono::milliseconds(0));
}

AnswerRun::Step AnswerRun::prepare(std::chrono::milliseconds patience) {
  auto prepared = preparation_->step(patience);
  if (!prepared) return {};
  preparation_.reset();
  if (!*prepared) return failed(prepared->error());
  return begin(**std::move(prepared));
}

AnswerRun::Step AnswerRun::begin(PreparedCall prepared) {
  if (call_.render_only) {
    rendered_ = true;
    Step step{.kind = Step::kPart, .counted = {}, .part = {}, .end = {}, .failure = {}};
    step.part.content = prepared.prompt_text;
    return step;
  }
  if (prepared.n_cut > 0)
    manager_.options().log(fmt::format("{}: a prompt was cut to its context of {} tokens: {} tokens left out",
                                       lease_->entry.name.shown(), prepared.request.n_ctx, prepared.n_cut));
  prepared.request.client = call_.asker.client;
  // Some ten bytes ask for a grammar of 8 MiB, and hundreds wait for a slot.
  if (const auto& grammar = prepared.request.sampling.grammar; grammar != nullptr && call_.may_take)
    if (!call_.may_take(grammar->text().size() + grammar->program().size() * sizeof(Instruction)))
      return failed(too_many_at_once());
  const auto echo = call_.echo ? std::optional(echo_of(prepared)) : std::nullopt;
  auto reader = AnswerReader::start(*lease_, call_, std::move(prepared), echo);
  if (!reader) return failed(reader.error());
  reader_ = *std::move(reader);
  return {};
}

// The prompt as the client sent it. What the tokenizer put in front of a text is not the client's.
std::string AnswerRun::echo_of(PreparedCall& prepared) const {
  std::vector<TokenId>& prompt = prepared.request.prompt;
  const bool is_text = call_.kind == CallKind::kRaw;
  if (prepared.request.scores)
    prepared.request.scores_from = is_text && lease_->info.adds_bos && !prompt.empty() ? size_t{1} : size_t{0};
  if (is_text) return call_.prompt;
  std::string text;
  for (const TokenId id : prompt) text += lease_->engine->token_text(id, true);
  return text;
}

CallProgress AnswerRun::progress() const {
  CallProgress now;
  if (request_) {
    const LoadQueue queue = manager_.load_queue();
    now.phase = queue.loading ? CallProgress::Phase::kLoading : CallProgress::Phase::kContext;
    if (!queue.loading) return now;
    now.model = queue.loading->entry.name.shown();
    now.total = queue.loading->bytes;
    now.done = static_cast<uint64_t>(static_cast<double>(now.total) * std::clamp(queue.loading->fraction, 0.0, 1.0));
    now.elapsed_s = queue.loading->elapsed_s;
    return now;
  }
  if (!lease_) return now;
  if (reader_ != nullptr && reader_->phase() != Phase::kQueued) return reader_->progress();
  const SchedulerStats stats = lease_->scheduler->stats();
  if (stats.resizing) now.phase = CallProgress::Phase::kContext;
  now.ahead = saturating_sub(stats.queued, 1);
  return now;
}

Result<Lease> acquire(ModelManager& manager, const std::string& name, std::optional<int64_t> n_ctx,
                      std::optional<double> keep_alive_s, const Asker& asker) {
  ModelManager::Request request = manager.ask(name, n_ctx, keep_alive_s, asker);
  for (;;) {
    if (auto lease = request.wait(std::chrono::milliseconds(200))) return std::move(*lease);
    if (asker.has_left()) return error(Code::kCancelled, "the client went away");
  }
}

namespace {

// Of all vectors of one reply: some 170 MB of text, as JSON writes them.
constexpr size_t kNumbersMax = 8u << 20;

// The beginning of an input, and what the tokenizer puts behind every one: models that pool the last token are trained
// to find EOS or SEP there.
Result<void> cut_input(const Engine& engine, size_t limit, std::vector<TokenId>& tokens) {
  ASSIGN_OR_RETURN(const auto bare, engine.tokenize("a", false, false));
  ASSIGN_OR_RETURN(const auto whole, engine.tokenize("a", true, false));
  const auto content = std::search(whole.begin(), whole.end(), bare.begin(), bare.end());
  std::vector<TokenId> end;
  if (content != whole.end()) end.assign(content + static_cast<std::ptrdiff_t>(bare.size()), whole.end());
  // Token ids that somebody sent may lack it.
  if (!std::equal(end.rbegin(), end.rend(), tokens.rbegin())) end.clear();
  const size_t added = saturating_sub(whole.size(), bare.size());
  if (limit < 2 || limit <= added) return invalid("input after truncation exceeds maximum context length");
  tokens.resize(limit - end.size());
  tokens.insert(tokens.end(), end.begin(), end.end());
  return {};
}

// Beside its letters each input has its text, a list of tokens and a vector: a million of them took 140 MB, in a body
// of 4 MB, before the first was looked at.
uint64_t bytes_of_inputs(const EmbedCall& call) {
  constexpr uint64_t kChunkBytes = 32;  // the least that the allocator gives
  constexpr uint64_t kLists = sizeof(std::vector<TokenId>) + sizeof(std::vector<float>) + 2 * kChunkBytes;
  uint64_t bytes = (call.texts.size() + call.token_texts.size()) * kLists;
  for (const std::string& text : call.texts) bytes += sizeof(std::string) + text.size();
  for (const std::vector<TokenId>& tokens : call.token_texts)  // which stay, beside those that are cut
    bytes += sizeof(std::vector<TokenId>) + 2 * tokens.size() * sizeof(TokenId);
  return bytes;
}

Result<void> check_numbers(size_t n_inputs, size_t n_numbers) {
  if (n_inputs <= kNumbersMax / std::max<size_t>(n_numbers, 1)) return {};
  return invalid(fmt::format("{} inputs, with {} numbers of each: {} numbers are the most in one reply", n_inputs,
                             n_numbers, kNumbersMax));
}

// Of each vector.
size_t numbers_of(const EmbedCall& call, size_t n_embd) {
  return call.dimensions ? std::min(n_embd, static_cast<size_t>(*call.dimensions)) : n_embd;
}

}  // namespace

Result<EmbedResult> embed(ModelManager& manager, const EmbedCall& call, const Asker& asker,
                          const std::function<bool(uint64_t bytes)>& may_take) {
  const Stopwatch watch;
  const auto takes = [&](uint64_t bytes) { return !may_take || may_take(bytes); };
  if (!takes(bytes_of_inputs(call))) return Failure(too_many_at_once());
  ASSIGN_OR_RETURN(const Lease lease, acquire(manager, call.model, call.num_ctx, call.keep_alive_s, asker));
  EmbedResult result;
  result.load_s = watch.elapsed_s();
  if (call.load_only) return result;
  std::vector<std::vector<TokenId>> inputs = call.token_texts;
  const ModelInfo& info = lease->info;
  if (info.n_scores > 0)
    return invalid(fmt::format("\"{}\" ranks texts for a query: ask /v1/rerank; it makes no embeddings", call.model));
  const size_t n_inputs = call.texts.size() + call.token_texts.size();
  const size_t n_numbers = numbers_of(call, info.n_embd);
  RETURN_IF_ERROR(check_numbers(n_inputs, n_numbers));
  if (!takes(n_inputs * n_numbers * sizeof(float))) return Failure(too_many_at_once());
  inputs.reserve(n_inputs);
  size_t limit = lease->context_for(call.num_ctx);
  if (info.n_ctx_train > 0) limit = std::min<size_t>(limit, info.n_ctx_train);
  // 0 is a bound too, which nothing keeps, as in Ollama.
  if (call.num_ctx && *call.num_ctx >= 0) limit = std::min(limit, static_cast<size_t>(*call.num_ctx));
  for (const std::string& text : call.texts) {
    const size_t n_tokens_min = tokens_min(*lease, text.size());
    if (n_tokens_min > limit && !call.truncate)
      return error(
          Code::kContextOverflow,
          fmt::format("the input length exceeds the context length: {} tokens, room for {}", n_tokens_min, limit));
    const std::string ends = near_its_ends(*lease, text, limit);
    ASSIGN_OR_RETURN(const auto place, place_to_prepare(*lease, ends.size(), asker));
    ASSIGN_OR_RETURN(auto tokens, lease->engine->tokenize(ends, true, true));
    tokens.shrink_to_fit();
    if (!takes(tokens.size() * sizeof(TokenId))) return Failure(too_many_at_once());
    inputs.push_back(std::move(tokens));
  }
  for (std::vector<TokenId>& tokens : inputs) {
    if (tokens.size() > limit) {
      if (!call.truncate)
        return error(
            Code::kContextOverflow,
            fmt::format("the input length exceeds the context length: {} tokens, room for {}", tokens.size(), limit));
      RETURN_IF_ERROR(cut_input(*lease->engine, limit, tokens));
    }
    for (const TokenId id : tokens)
      if (id < 0 || id >= info.n_vocab)
        return invalid(fmt::format("token id {} is outside the vocabulary of {} tokens", id, info.n_vocab));
    result.prompt_tokens += tokens.size();
  }
  for (const std::vector<TokenId>& tokens : inputs) {
    if (tokens.empty()) return invalid("the input is empty");
    if (asker.has_left()) return error(Code::kCancelled, "the client went away");
    std::vector<float> vector;
    RETURN_IF_ERROR(lease->scheduler->run(
        [&](Engine& engine) -> Result<void> {
          ASSIGN_OR_RETURN(vector, engine.embed(tokens));
          return {};
        },
        asker));
    vector.resize(numbers_of(call, vector.size()));
    vector.shrink_to_fit();  // of 1,000 numbers one may be wanted, of each of a million inputs
    if (!call.single) {
      double squares = 0;
      for (const float x : vector) squares += static_cast<double>(x) * static_cast<double>(x);
      const auto norm = static_cast<float>(std::sqrt(squares));
      if (norm > 0)
        for (float& x : vector) x /= norm;
    }
    RETURN_IF_ERROR(check_numbers(n_inputs, vector.size()));
    result.vectors.push_back(std::move(vector));
  }
  result.total_s = watch.elapsed_s();
  return result;
}

}  // namespace spillway
