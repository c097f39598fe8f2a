// SPDX-License-Identifier: MIT
// /v1/completions.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "serve/call_json.h"
#include "serve/openai.h"
#include "serve/openai_common.h"

namespace spillway {
namespace {

constexpr size_t kAnswersMax = 1024;

// A token's bytes as this protocol writes them where they are not whole characters.
std::string shown_bytes(const std::string& bytes) {
  if (valid_utf8(bytes) == bytes) return bytes;
  std::string shown = "bytes:";
  for (const char c : bytes) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return shown;
}

class CompletionWriter : public OpenAiChoicesWriter {
 public:
  CompletionWriter(const Call& call, std::string id, int64_t created_s)
      : OpenAiChoicesWriter(call, std::move(id), created_s), offsets_(n_answers(call)) {}

  std::string part(const AnswerPart& part) override {
    if (part.content.empty() && part.scores.empty()) return "";
    Json json = head(true);
    json["choices"] = Json::array({choice(part, nullptr)});
    return openai_event(json);
  }
  std::string end(const AnswerEnd& end) override {
    ends_[end.choice] = end;
    AnswerPart nothing;
    nothing.choice = end.choice;
    Json json = head(true);
    json["choices"] = Json::array({choice(nothing, openai_finish_reason(end))});
    return openai_event(json);
  }
  std::string whole_of(const std::vector<Answer>& answers) override {
    Json choices = Json::array();
    std::vector<AnswerEnd> ends;
    for (const auto& [all, end] : answers) {
      AnswerPart part = all;
      part.choice = choices.size();
      choices.push_back(choice(part, openai_finish_reason(end)));
      ends.push_back(end);
    }
    return whole_text(std::move(choices), ends);
  }

 private:
  Json head(bool /*streamed*/) const override {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_s_},
            {"model", model_},
            {"system_fingerprint", kFingerprint}};
  }
  Json choice(const AnswerPart& part, const char* reason) {
    Json choice = {{"text", part.content}, {"index", part.choice}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
    if (reason != nullptr) choice["finish_reason"] = reason;
    if (!part.scores.empty()) choice["logprobs"] = logprobs(part.scores, offsets_[part.choice]);
    return choice;
  }
  // `offset`: characters of the answer before these tokens; moved on.
  static Json logprobs(const std::vector<TokenScore>& scores, size_t& offset) {
    Json json = {{"tokens", Json::array()},
                 {"token_logprobs", Json::array()},
                 {"top_logprobs", Json::array()},
                 {"text_offset", Json::array()}};
    for (const TokenScore& score : scores) {
      json["tokens"].push_back(shown_bytes(score.bytes));
      json["text_offset"].push_back(offset);
      // Every byte but those that go on with a character begins one.
      for (const char c : score.bytes) offset += (static_cast<unsigned char>(c) & 0xC0u) != 0x80u ? 1 : 0;
      const bool known = !std::isnan(score.logprob);
      json["token_logprobs"].push_back(known ? Json(score.logprob) : Json(nullptr));
      Json top = Json::object();
      for (const TokenScore& other : score.top) top[shown_bytes(other.bytes)] = other.logprob;
      json["top_logprobs"].push_back(known ? std::move(top) : Json(nullptr));
    }
    return json;
  }

  std::vector<size_t> offsets_;
};

Result<PromptValue> prompt_of(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  if (auto ids = token_ids(json); ids && !ids->empty()) return std::move(*ids);
  return invalid("'prompt' must be a text, an array of token ids, or an array of those");
}

}  // namespace

Result<Call> parse_openai_completion(std::string_view body) {
  static constexpr const char* kFields[] = {"prompt", "echo", "suffix", "logprobs", "n", "best_of"};
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  call.kind = CallKind::kRaw;
  RETURN_IF_ERROR(parse_openai_options(json, 0, call));
  RETURN_IF_ERROR(check_openai_fields(json, kFields, call));
  // Of templates, which the prompt goes through none of.
  for (const char* name : {"chat_template_kwargs", "reasoning_effort", "reasoning"})
    if (find_field(json, name) != nullptr) call.not_applied.emplace_back(name);
  RETURN_IF_ERROR(parse_n(json, call));
  const Json* prompt = find_field(json, "prompt");
  if (prompt == nullptr) return invalid("prompt is required");
  const bool several = prompt->is_array() && !prompt->empty() && !prompt->front().is_number();
  if (several && prompt->size() * call.n_choices > kAnswersMax)
    return invalid(fmt::format("more than {} answers to one request", kAnswersMax));
  std::vector<PromptValue> prompts;
  if (several) {
    for (const Json& one : *prompt) {
      ASSIGN_OR_RETURN(PromptValue value, prompt_of(one));
      prompts.push_back(std::move(value));
    }
  } else {
    ASSIGN_OR_RETURN(PromptValue value, prompt_of(*prompt));
    prompts.push_back(std::move(value));
  }
  ASSIGN_OR_RETURN(const auto echo, bool_field(json, "echo"));
  call.echo = echo.value_or(false);
  ASSIGN_OR_RETURN(const auto suffix, string_field(json, "suffix"));
  call.suffix = suffix.value_or("");
  if (!call.suffix.empty()) {
    if (call.echo) return invalid("'echo' and 'suffix' together are not supported");
    if (std::any_of(prompts.begin(), prompts.end(),
                    [](const PromptValue& value) { return !std::holds_alternative<std::string>(value); }))
      return invalid("'suffix' goes with a prompt that is text");
    call.kind = CallKind::kInfill;
  }
  call.prompts = std::make_shared<const std::vector<PromptValue>>(std::move(prompts));
  if (find_field(json, "logprobs") != nullptr) {
    ASSIGN_OR_RETURN(const auto n, integer_field(json, "logprobs"));
    if (*n < 0 || *n > 20) return invalid("logprobs must be between 0 and 20");
    call.scores = true;
    call.top_scores = static_cast<size_t>(*n);
  }
  return call;
}

std::unique_ptr<AnswerWriter> make_openai_completion_writer(const Call& call, std::string id, int64_t created_s) {
  return std::make_unique<CompletionWriter>(call, std::move(id), created_s);
}

}  // namespace spillway
