// SPDX-License-Identifier: MIT
// /v1/completions.
#include "serve/call_json.h"
#include "serve/openai.h"
#include "serve/openai_common.h"

namespace spillway {
namespace {

class CompletionWriter : public OpenAiWriter {
 public:
  CompletionWriter(const Call& call, std::string id, int64_t created_s)
      : model_(call.model), id_(std::move(id)), created_s_(created_s), include_usage_(call.include_usage) {}

  std::string part(const AnswerPart& part) override {
    return part.content.empty() && part.scores.empty() ? "" : openai_event(object(part, nullptr, nullptr));
  }
  std::string end(const AnswerEnd& end) override {
    return openai_event(object({}, openai_finish_reason(end), include_usage_ ? &end : nullptr)) + "data: [DONE]\n\n";
  }
  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    return to_text(object(all, openai_finish_reason(end), &end));
  }

 private:
  Json object(const AnswerPart& part, const char* reason, const AnswerEnd* end) const {
    Json choice = {{"text", part.content}, {"index", 0}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
    if (reason != nullptr) choice["finish_reason"] = reason;
    if (!part.scores.empty()) {
      Json logprobs = {{"tokens", Json::array()}, {"token_logprobs", Json::array()}, {"top_logprobs", Json::array()}};
      for (const TokenScore& score : part.scores) {
        logprobs["tokens"].push_back(score.bytes);
        logprobs["token_logprobs"].push_back(score.logprob);
        Json top = Json::object();
        for (const TokenScore& other : score.top) top[other.bytes] = other.logprob;
        logprobs["top_logprobs"].push_back(std::move(top));
      }
      choice["logprobs"] = std::move(logprobs);
    }
    Json json = {
        {"id", id_},       {"object", "text_completion"},        {"created", created_s_},
        {"model", model_}, {"system_fingerprint", kFingerprint}, {"choices", Json::array({std::move(choice)})}};
    if (end != nullptr) json["usage"] = openai_usage(*end);
    return json;
  }

  const std::string model_, id_;
  const int64_t created_s_;
  const bool include_usage_;
};

}  // namespace

Result<Call> parse_openai_completion(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  call.kind = CallKind::kRaw;
  RETURN_IF_ERROR(parse_openai_options(json, call));
  const Json* prompt = find_field(json, "prompt");
  if (prompt != nullptr && prompt->is_array() && prompt->size() == 1 && !prompt->front().is_number())
    prompt = &prompt->front();
  if (prompt == nullptr) return invalid("prompt is required");
  if (prompt->is_string()) {
    call.prompt = prompt->get<std::string>();
  } else if (auto ids = token_ids(*prompt); ids && !ids->empty()) {
    call.kind = CallKind::kTokens;
    call.tokens = std::move(*ids);
  } else {
    return invalid("'prompt' must be one text, or one array of token ids");
  }
  ASSIGN_OR_RETURN(const auto echo, bool_field(json, "echo"));
  if (echo.value_or(false)) return invalid("'echo' is not supported");
  ASSIGN_OR_RETURN(const auto suffix, string_field(json, "suffix"));
  call.suffix = suffix.value_or("");
  if (!call.suffix.empty()) call.kind = CallKind::kInfill;
  if (const Json* logprobs = find_field(json, "logprobs"); logprobs != nullptr) {
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
