// SPDX-License-Identifier: MIT
#include "serve/llama_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <string>
#include <utility>

#include "serve/call_json.h"
#include "serve/ollama_options.h"
#include "serve/openai_common.h"

namespace spillway {
namespace {

// Names that differ from Ollama's for the same thing.
constexpr std::pair<const char*, const char*> kOtherNames[] = {
    {"n_predict", "num_predict"}, {"max_tokens", "num_predict"}, {"n_keep", "num_keep"}};

// What is read beside the options.
constexpr std::array kLlamaFields = {"model",        "stream",  "logit_bias",  "ignore_eos",
                                     "cache_prompt", "grammar", "json_schema", "n_probs"};

// What nobody here reads is named; what says that there is more to go on from is refused.
Result<void> check_llama_fields(const Json& json, std::span<const char* const> own, Call& call) {
  std::vector<std::string> options = used_option_names();
  std::erase(options, "num_ctx");
  for (const auto& item : json.items()) {
    const std::string& name = item.key();
    if (std::find(options.begin(), options.end(), name) != options.end()) continue;
    const auto is = [&](const char* other) { return name == other; };
    const auto is_other = [&](const auto& names) { return name == names.first; };
    if (item.value().is_null() || std::any_of(kLlamaFields.begin(), kLlamaFields.end(), is) ||
        std::any_of(own.begin(), own.end(), is) ||
        std::any_of(std::begin(kOtherNames), std::end(kOtherNames), is_other))
      continue;
    if (says_more_than_messages(name))
      return invalid(fmt::format("'{}' is not supported: nothing is stored here; send all of it in the prompt",
                                 name.substr(0, 80)));
    call.not_applied.push_back(name);
  }
  return {};
}

Result<void> parse_biases(const Json& json, CallOptions& options) {
  const Json* biases = find_field(json, "logit_bias");
  if (biases == nullptr) return {};
  const auto add = [&](std::optional<TokenId> id, const Json& bias) {
    const bool never = bias.is_boolean() && !bias.get<bool>();  // llama-server's word for it
    if (!id || !(bias.is_number() || never)) return false;
    options.logit_bias.emplace_back(*id, never ? -1e9f : bias.get<float>());
    return true;
  };
  const Failure wrong = invalid("'logit_bias' is a list of pairs of a token id and a number or false");
  if (!biases->is_object() && !biases->is_array()) return wrong;
  if (biases->size() > kBiasesMax) return invalid(fmt::format("'logit_bias' has at most {} tokens", kBiasesMax));
  if (biases->is_object()) {
    for (const auto& [id, bias] : biases->items())
      if (!add(token_of_key(id), bias)) return wrong;
    return {};
  }
  for (const Json& pair : *biases) {
    const bool is_pair = pair.is_array() && pair.size() == 2 && pair[0].is_number_integer();
    const int64_t id = is_pair ? pair[0].get<int64_t>() : -1;
    const bool is_token = id >= INT32_MIN && id <= INT32_MAX;
    if (!is_pair || !is_token || !add(static_cast<TokenId>(id), pair[1])) return wrong;
  }
  return {};
}

// `own`: what else the endpoint reads.
Result<void> parse_common(const Json& json, std::span<const char* const> own, Call& call) {
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  call.model = model.value_or("");
  ASSIGN_OR_RETURN(const auto stream, bool_field(json, "stream"));
  call.stream = stream.value_or(false);
  Json options = json;
  for (const auto& [theirs, ours] : kOtherNames)
    if (const Json* value = find_field(json, theirs); value != nullptr) options[ours] = *value;
  if (const Json* stop = find_field(json, "stop"); stop != nullptr && stop->is_string())
    options["stop"] = Json::array({*stop});
  ASSIGN_OR_RETURN(call.options, parse_ollama_options(options));
  for (const char* name : {"n_predict", "max_tokens"}) {
    ASSIGN_OR_RETURN(const auto n_tokens, integer_field(json, name));
    if (n_tokens) call.options.num_predict = n_tokens;  // 0 is none, not as in Ollama
  }
  call.options.num_ctx.reset();  // of the server's start, in llama-server
  RETURN_IF_ERROR(parse_biases(json, call.options));
  ASSIGN_OR_RETURN(const auto ignore_eos, bool_field(json, "ignore_eos"));
  call.ignore_eos = ignore_eos.value_or(false);
  ASSIGN_OR_RETURN(const auto cache_prompt, bool_field(json, "cache_prompt"));
  call.fresh = !cache_prompt.value_or(true);
  ASSIGN_OR_RETURN(const auto grammar, string_field(json, "grammar"));
  call.grammar = grammar.value_or("");
  ASSIGN_OR_RETURN(const Json* schema, object_field(json, "json_schema"));
  if (schema != nullptr && !call.grammar.empty()) return invalid("either 'grammar' or 'json_schema', not both");
  if (schema != nullptr) call.schema = to_text(*schema);
  ASSIGN_OR_RETURN(const auto n_probs, integer_field(json, "n_probs"));
  if (n_probs && (*n_probs < 0 || *n_probs > 100)) return invalid("n_probs must be between 0 and 100");
  call.scores = n_probs.value_or(0) > 0;
  call.top_scores = static_cast<size_t>(n_probs.value_or(0));
  return check_llama_fields(json, own, call);
}

class LlamaWriter : public OpenAiWriter {
 public:
  explicit LlamaWriter(const Call& call) : model_(call.model) {}

  void counted(const PromptCount& count) override { prompt_tokens_ = count.prompt_tokens; }
  std::string part(const AnswerPart& part) override {
    if (part.empty()) return "";
    Json json = {{"index", 0},    {"content", part.content}, {"tokens", Json::array()},
                 {"stop", false}, {"id_slot", -1},           {"tokens_evaluated", prompt_tokens_}};
    put_scores(json, part);
    return openai_event(json);
  }
  std::string end(const AnswerEnd& end) override { return openai_event(object({}, end)); }
  std::string whole(const AnswerPart& all, const AnswerEnd& end) override { return to_text(object(all, end)); }

 private:
  Json object(const AnswerPart& all, const AnswerEnd& end) const {
    const bool limit = end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull;
    const bool word = end.reason == FinishReason::kStopString;
    Json json = {{"index", 0},
                 {"content", all.content},
                 {"tokens", Json::array()},
                 {"id_slot", -1},
                 {"stop", true},
                 {"model", model_},
                 {"tokens_predicted", end.answer_tokens},
                 {"tokens_evaluated", end.prompt_tokens},
                 {"tokens_cached", end.prompt_tokens + end.answer_tokens},
                 {"has_new_line", all.content.find('\n') != std::string::npos},
                 {"truncated", false},
                 {"stop_type", limit  ? "limit"
                               : word ? "word"
                                      : "eos"},
                 {"stopping_word", word ? end.stop_string : ""},
                 {"timings", timings(end)}};
    put_scores(json, all);
    return json;
  }

  static Json timings(const AnswerEnd& end) {
    const auto prompt_n = static_cast<double>(end.prompt_tokens - end.cached_tokens);
    const auto answer_n = static_cast<double>(end.answer_tokens);
    const auto per = [](double a, double b) { return b > 0 ? a / b : 0.0; };
    return {{"cache_n", end.cached_tokens},
            {"prompt_n", end.prompt_tokens - end.cached_tokens},
            {"prompt_ms", end.prompt_s * 1000},
            {"prompt_per_token_ms", per(end.prompt_s * 1000, prompt_n)},
            {"prompt_per_second", per(prompt_n, end.prompt_s)},
            {"predicted_n", end.answer_tokens},
            {"predicted_ms", end.decode_s * 1000},
            {"predicted_per_token_ms", per(end.decode_s * 1000, answer_n)},
            {"predicted_per_second", per(answer_n, end.decode_s)}};
  }

  static void put_scores(Json& json, const AnswerPart& part) {
    if (part.scores.empty()) return;
    json["completion_probabilities"] = Json::array();
    for (const TokenScore& score : part.scores) {
      Json one = json_of_score(score);
      one["id"] = score.id;
      one["top_logprobs"] = Json::array();
      for (const TokenScore& other : score.top) {
        Json top = json_of_score(other);
        top["id"] = other.id;
        one["top_logprobs"].push_back(std::move(top));
      }
      json["completion_probabilities"].push_back(std::move(one));
    }
  }

  const std::string model_;
  size_t prompt_tokens_ = 0;
};

}  // namespace

Result<Call> parse_llama_completion(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  call.kind = CallKind::kRaw;
  static constexpr const char* kFields[] = {"prompt"};
  RETURN_IF_ERROR(parse_common(json, kFields, call));
  const Json* prompt = find_field(json, "prompt");
  if (prompt == nullptr) return invalid("prompt is required");
  if (prompt->is_array() && prompt->size() == 1 && prompt->front().is_string()) prompt = &prompt->front();
  if (prompt->is_string()) {
    call.prompt = prompt->get<std::string>();
  } else if (auto ids = token_ids(*prompt); ids && !ids->empty()) {
    call.kind = CallKind::kTokens;
    call.tokens = std::move(*ids);
  } else {
    return invalid("'prompt' must be one text, or one array of token ids");
  }
  return call;
}

Result<Call> parse_llama_infill(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  call.kind = CallKind::kInfill;
  static constexpr const char* kFields[] = {"prompt", "input_prefix", "input_suffix", "input_extra"};
  RETURN_IF_ERROR(parse_common(json, kFields, call));
  ASSIGN_OR_RETURN(const auto prefix, string_field(json, "input_prefix"));
  ASSIGN_OR_RETURN(const auto suffix, string_field(json, "input_suffix"));
  ASSIGN_OR_RETURN(const auto prompt, string_field(json, "prompt"));
  if (!prefix || !suffix) return invalid("'input_prefix' and 'input_suffix' are required");
  if (const Json* extra = find_field(json, "input_extra"); extra != nullptr) {
    if (!extra->is_array()) return invalid("'input_extra' must be of type array");
    for (const Json& file : *extra) {
      if (!file.is_object()) return invalid("each of 'input_extra' must be an object");
      ASSIGN_OR_RETURN(const auto name, string_field(file, "filename"));
      ASSIGN_OR_RETURN(const auto text, string_field(file, "text"));
      if (!text) return invalid("each of 'input_extra' needs a 'text'");
      call.prompt += fmt::format("{}\n{}\n\n", name.value_or("file"), *text);
    }
  }
  call.prompt += *prefix + prompt.value_or("");
  call.suffix = *suffix;
  return call;
}

std::unique_ptr<AnswerWriter> make_llama_writer(const Call& call) { return std::make_unique<LlamaWriter>(call); }

}  // namespace spillway
