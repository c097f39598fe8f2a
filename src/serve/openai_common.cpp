// SPDX-License-Identifier: MIT
#include "serve/openai_common.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "chat/gbnf.h"
#include "serve/call_json.h"
#include "serve/message_images.h"
#include "serve/ollama_options.h"
#include "serve/openai.h"
#include "serve/part_text.h"

namespace spillway {
namespace {

constexpr double kLogitBiasMax = 100;
constexpr int64_t kChoicesMax = 128;

// Fields that parse_openai_options() reads, and those that are about the request and not about its answer.
constexpr const char* kKnown[] = {"model",
                                  "stream",
                                  "stream_options",
                                  "options",
                                  "temperature",
                                  "top_p",
                                  "min_p",
                                  "top_k",
                                  "frequency_penalty",
                                  "presence_penalty",
                                  "repeat_penalty",
                                  "repetition_penalty",
                                  "typical_p",
                                  "seed",
                                  "max_tokens",
                                  "max_completion_tokens",
                                  "max_output_tokens",
                                  "stop",
                                  "logit_bias",
                                  "chat_template_kwargs",
                                  "keep_alive",
                                  "reasoning_effort",
                                  "reasoning",
                                  "response_format",
                                  "json_schema",
                                  "grammar",
                                  "guided_json",
                                  "guided_choice",
                                  "guided_grammar",
                                  "structured_outputs",
                                  "ignore_eos",
                                  "cache_prompt",
                                  "user",
                                  "metadata",
                                  "store",
                                  "service_tier",
                                  "safety_identifier",
                                  "prompt_cache_key",
                                  "prompt_cache_retention",
                                  "prompt_cache_options",
                                  "moderation"};

Result<void> take_schema(const Json* schema, Call& call) {
  if (schema == nullptr) return {};
  if (schema->is_string()) {  // as some clients send it
    ASSIGN_OR_RETURN(const Json parsed, parse_json_object(schema->get<std::string>()));
    call.schema = to_text(parsed);
    return {};
  }
  if (!schema->is_object()) return invalid("a JSON schema must be an object");
  call.schema = to_text(*schema);
  return {};
}

Result<void> parse_response_format(const Json& json, Call& call) {
  ASSIGN_OR_RETURN(const Json* format, object_field(json, "response_format"));
  ASSIGN_OR_RETURN(const Json* text, object_field(json, "text"));  // responses
  if (format == nullptr && text != nullptr) {
    ASSIGN_OR_RETURN(format, object_field(*text, "format"));
  }
  if (format == nullptr) return {};
  ASSIGN_OR_RETURN(const auto type, string_field(*format, "type"));
  if (!type || *type == "text") return {};
  const Json* wrapper = find_field(*format, "json_schema");
  if (wrapper == nullptr || !wrapper->is_object()) wrapper = format;
  const Json* schema = find_field(*wrapper, "schema");
  if (*type == "json_object") {  // with a schema: as llama-server takes it
    call.any_json = schema == nullptr;
    return take_schema(schema, call);
  }
  if (*type != "json_schema")
    return invalid(
        fmt::format("invalid response_format '{}'; it is one of text, json_object, json_schema", type->substr(0, 40)));
  if (schema == nullptr || !schema->is_object()) return invalid("response_format of type json_schema needs a 'schema'");
  ASSIGN_OR_RETURN(const auto strict, bool_field(*wrapper, "strict"));
  call.strict_schema = strict.value_or(false);
  return take_schema(schema, call);
}

Result<void> check_one_guide(const Call& call) {
  if (call.grammar.empty() || !is_json(call)) return {};
  return invalid("either a grammar (or choices) or JSON holds an answer, not both");
}

// Other servers' names for the same: llama-server's json_schema and grammar, vLLM's guided_… and structured_outputs.
Result<void> parse_guides(const Json& json, Call& call) {
  RETURN_IF_ERROR(take_schema(find_field(json, "json_schema"), call));
  RETURN_IF_ERROR(take_schema(find_field(json, "guided_json"), call));
  ASSIGN_OR_RETURN(const auto grammar, string_field(json, "grammar"));
  ASSIGN_OR_RETURN(const auto guided_grammar, string_field(json, "guided_grammar"));
  if (grammar || guided_grammar) call.grammar = grammar ? *grammar : *guided_grammar;
  const Json* choices = find_field(json, "guided_choice");
  const Json* regex = find_field(json, "guided_regex");
  ASSIGN_OR_RETURN(const Json* outputs, object_field(json, "structured_outputs"));
  if (outputs != nullptr) {
    RETURN_IF_ERROR(take_schema(find_field(*outputs, "json"), call));
    ASSIGN_OR_RETURN(const auto inner, string_field(*outputs, "grammar"));
    if (inner) call.grammar = *inner;
    if (find_field(*outputs, "choice") != nullptr) choices = find_field(*outputs, "choice");
    if (find_field(*outputs, "regex") != nullptr) regex = find_field(*outputs, "regex");
    ASSIGN_OR_RETURN(const auto object, bool_field(*outputs, "json_object"));
    call.any_json = call.any_json || object.value_or(false);
  }
  if (regex != nullptr) return invalid("guided_regex is not supported; use a JSON schema with a pattern, or a grammar");
  if (choices == nullptr) return check_one_guide(call);
  if (!choices->is_array() || choices->empty()) return invalid("guided_choice must be an array of strings");
  std::vector<std::string> alternatives;
  for (const Json& choice : *choices) {
    if (!choice.is_string()) return invalid("guided_choice must be an array of strings");
    alternatives.push_back(gbnf_literal(choice.get<std::string>()));
  }
  call.grammar = "root ::= " + gbnf_any_of(alternatives) + "\n";
  return check_one_guide(call);
}

Result<void> parse_effort(const Json& json, Call& call) {
  ASSIGN_OR_RETURN(auto effort, string_field(json, "reasoning_effort"));
  ASSIGN_OR_RETURN(const Json* reasoning, object_field(json, "reasoning"));
  if (!effort && reasoning != nullptr) {
    ASSIGN_OR_RETURN(effort, string_field(*reasoning, "effort"));
  }
  if (!effort) return {};
  if (*effort == "none") {
    call.think = false;
  } else {
    call.think = true;
    call.effort = effort_level(*effort);
  }
  return {};
}

// `refuse`: where nobody could tell the user what the model does not see.
Result<std::string> text_of_file_part(const Json& part, const std::string& kind, bool refuse) {
  const Json* file = find_field(part, "file");
  if (file == nullptr || !file->is_object()) file = &part;
  ASSIGN_OR_RETURN(const auto data, string_field(*file, "file_data"));
  ASSIGN_OR_RETURN(const auto name, string_field(*file, "filename"));
  if (!data && !refuse) return unseen("file", name.value_or(""));
  if (!data)
    return invalid(
        fmt::format("a content part of type '{}' needs 'file_data': nothing is stored or fetched here", kind));
  auto text = text_of_file(*data, name.value_or(""), kind);
  if (!text && !refuse) return unseen("file", name.value_or(""));
  return text;
}

}  // namespace

Result<void> parse_openai_options(const Json& json, int64_t min_tokens, Call& call) {
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  if (!model || model->empty()) return invalid("model is required");
  call.model = *model;
  call.greedy_defaults_of_openai = true;
  ASSIGN_OR_RETURN(const auto stream, bool_field(json, "stream"));
  call.stream = stream.value_or(false);
  CallOptions& options = call.options;
  // Spillway's and OpenClaw's extension: Ollama's options beside OpenAI's.
  if (const Json* own = find_field(json, "options"); own != nullptr) {
    ASSIGN_OR_RETURN(options, parse_ollama_options(*own));
  }
  const auto take = [&](const char* name, double min, double max, std::optional<double>& to) -> Result<void> {
    ASSIGN_OR_RETURN(const auto value, number_field_within(json, name, min, max));
    if (value) to = value;
    return {};
  };
  RETURN_IF_ERROR(take("temperature", 0, 2, options.temperature));
  RETURN_IF_ERROR(take("top_p", 0, 1, options.top_p));
  RETURN_IF_ERROR(take("min_p", 0, 1, options.min_p));
  RETURN_IF_ERROR(take("frequency_penalty", -2, 2, options.frequency_penalty));
  RETURN_IF_ERROR(take("presence_penalty", -2, 2, options.presence_penalty));
  // llama-server's and vLLM's.
  RETURN_IF_ERROR(take("typical_p", 0, 1, options.typical_p));
  RETURN_IF_ERROR(take("repeat_penalty", 0, 10, options.repeat_penalty));
  RETURN_IF_ERROR(take("repetition_penalty", 0, 10, options.repeat_penalty));
  ASSIGN_OR_RETURN(const auto ignore_eos, bool_field(json, "ignore_eos"));
  call.ignore_eos = ignore_eos.value_or(false);
  ASSIGN_OR_RETURN(const auto cache_prompt, bool_field(json, "cache_prompt"));
  call.fresh = !cache_prompt.value_or(true);
  ASSIGN_OR_RETURN(const auto top_k, integer_field(json, "top_k"));
  if (top_k) options.top_k = top_k;
  ASSIGN_OR_RETURN(const auto seed, integer_field(json, "seed"));
  if (seed) options.seed = seed;
  for (const char* name : {"max_tokens", "max_completion_tokens", "max_output_tokens"}) {
    ASSIGN_OR_RETURN(const auto max_tokens, integer_field(json, name));
    if (max_tokens && *max_tokens < min_tokens)
      return invalid(fmt::format("'{}' must be at least {}", name, min_tokens));
    if (max_tokens) options.num_predict = max_tokens;
  }
  if (const Json* stop = find_field(json, "stop"); stop != nullptr) {
    std::vector<std::string> stops;
    if (stop->is_string()) stops.push_back(stop->get<std::string>());
    if (stop->is_array())
      for (const Json& text : *stop) {
        if (!text.is_string()) return invalid("'stop' must be a string or an array of strings");
        stops.push_back(text.get<std::string>());
      }
    if (!stop->is_string() && !stop->is_array()) return invalid("'stop' must be a string or an array of strings");
    options.stop = std::move(stops);
  }
  if (const Json* biases = find_field(json, "logit_bias"); biases != nullptr) {
    if (!biases->is_object()) return invalid("'logit_bias' must be of type object");
    if (biases->size() > kBiasesMax) return invalid(fmt::format("'logit_bias' has at most {} tokens", kBiasesMax));
    for (const auto& [key, bias] : biases->items()) {
      const auto id = token_of_key(key);
      if (!bias.is_number() || !id) return invalid("'logit_bias' maps token ids to numbers");
      if (!(std::abs(bias.get<double>()) <= kLogitBiasMax))
        return invalid(
            fmt::format("'logit_bias' must be between {} and {} for each token", -kLogitBiasMax, kLogitBiasMax));
      options.logit_bias.emplace_back(*id, bias.get<float>());
    }
  }
  ASSIGN_OR_RETURN(const Json* stream_options, object_field(json, "stream_options"));
  if (stream_options != nullptr) {
    ASSIGN_OR_RETURN(const auto include_usage, bool_field(*stream_options, "include_usage"));
    call.include_usage = include_usage.value_or(false);
  }
  ASSIGN_OR_RETURN(const Json* variables, object_field(json, "chat_template_kwargs"));
  if (variables != nullptr) {
    // They would be others than those that are counted, cut and logged.
    for (const char* name : {"messages", "tools"})
      if (variables->contains(name)) return invalid(fmt::format("'chat_template_kwargs' may not name '{}'", name));
    call.template_variables = to_text(*variables);
  }
  ASSIGN_OR_RETURN(call.keep_alive_s, keep_alive_field(json));
  RETURN_IF_ERROR(parse_effort(json, call));
  RETURN_IF_ERROR(parse_response_format(json, call));
  return parse_guides(json, call);
}

Result<void> check_openai_fields(const Json& json, std::span<const char* const> known, Call& call) {
  RETURN_IF_ERROR(check_field_names(json, {kKnown, known}, call));
  if (const Json* options = find_field(json, "options"); options != nullptr)
    for (const std::string& name : unused_option_names(*options)) call.not_applied.push_back("options." + name);
  return {};
}

Result<void> parse_n(const Json& json, Call& call) {
  ASSIGN_OR_RETURN(const auto n, integer_field(json, "n"));
  if (n && (*n < 1 || *n > kChoicesMax)) return invalid(fmt::format("'n' must be between 1 and {}", kChoicesMax));
  call.n_choices = static_cast<size_t>(n.value_or(1));
  ASSIGN_OR_RETURN(const auto best_of, integer_field(json, "best_of"));
  if (best_of && *best_of != n.value_or(1)) return invalid("'best_of' other than 'n' is not supported");
  return {};
}

namespace {

// A URL, for now of any kind: chat's parts have it in an object, those of responses as it is.
Result<std::string> image_of_part(const Json& part, const std::string& kind) {
  const Json* url = find_field(part, "image_url");
  if (url != nullptr && url->is_object()) url = find_field(*url, "url");
  if (url == nullptr || !url->is_string())
    return invalid(fmt::format("a content part of type '{}' needs an 'image_url': a data URL with the image", kind));
  return url->get<std::string>();
}

}  // namespace

Result<std::string> parse_openai_content(const Json* content, const std::string& role, Message& message) {
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return invalid("'content' must be a string or an array of parts");
  std::string text;
  for (const Json& part : *content) {
    if (part.is_string()) {
      append_part(text, part.get<std::string>());
      continue;
    }
    ASSIGN_OR_RETURN(const auto type, string_field(part, "type"));
    const std::string kind = type.value_or("text");
    if (kind == "text" || kind.ends_with("_text")) {  // input_, output_, summary_, reasoning_
      ASSIGN_OR_RETURN(const auto piece, string_field(part, "text"));
      // What a model wrote may be cut anywhere.
      if (role == "assistant")
        text += piece.value_or("");
      else
        append_part(text, piece.value_or(""));
    } else if (kind == "refusal") {
      ASSIGN_OR_RETURN(const auto refusal, string_field(part, "refusal"));
      append_part(text, refusal.value_or(""));
    } else if (kind == "file" || kind == "input_file") {
      ASSIGN_OR_RETURN(const std::string file, text_of_file_part(part, kind, role != "tool"));
      append_part(text, file);
    } else if (kind == "image_url" || kind == "input_image" || kind == "computer_screenshot") {
      auto data = image_of_part(part, kind);
      // The user did not ask for what a tool shows in another way.
      if (role == "assistant" || (role == "tool" && !data)) {
        append_part(text, unseen("image"));
        continue;
      }
      if (!data) return Failure(data.error());
      Message shown;
      append_image(shown, *std::move(data), {});
      append_part(text, shown.content);
      message.images.push_back(std::move(shown.images.front()));
    } else if (kind == "encrypted_content" && role == "tool") {
      append_part(text, unseen("encrypted text"));
    } else if (kind == "input_audio" || kind == "audio" || kind == "video_url" || kind == "input_video") {
      if (role != "tool" && role != "assistant")
        return invalid(fmt::format("content parts of type '{}' are not supported: no model here hears or sees", kind));
      append_part(text, unseen(kind.starts_with("input_") ? kind.substr(6) : kind));
    } else {
      return invalid(fmt::format("unknown content part type '{}'", kind.substr(0, 40)));
    }
  }
  return text;
}

Json openai_usage(const AnswerEnd& end) {
  return {{"prompt_tokens", end.prompt_tokens},
          {"completion_tokens", end.answer_tokens},
          {"total_tokens", end.prompt_tokens + end.answer_tokens},
          {"prompt_tokens_details", {{"cached_tokens", end.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", end.thinking_tokens}}}};
}

AnswerEnd sum_of_choices(const std::vector<AnswerEnd>& ends, size_t n_choices) {
  AnswerEnd sum = ends.front();
  sum.prompt_tokens = sum.cached_tokens = sum.answer_tokens = sum.thinking_tokens = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    // A prompt counts once, however many answers it has.
    if (i % n_choices == 0) sum.prompt_tokens += ends[i].prompt_tokens;
    if (i % n_choices == 0) sum.cached_tokens += ends[i].cached_tokens;
    sum.answer_tokens += ends[i].answer_tokens;
    sum.thinking_tokens += ends[i].thinking_tokens;
  }
  return sum;
}

const char* openai_finish_reason(const AnswerEnd& end) {
  if (was_cut(end)) return "length";
  return end.called_tools ? "tool_calls" : "stop";
}

std::string openai_event(const Json& json) { return "data: " + to_text(json) + "\n\n"; }

std::string OpenAiWriter::failure(const Status& status) { return "data: " + openai_error(status) + "\n\n"; }

OpenAiChoicesWriter::OpenAiChoicesWriter(const Call& call, std::string id, int64_t created_s)
    : model_(call.model),
      id_(std::move(id)),
      created_s_(created_s),
      include_usage_(call.include_usage),
      n_choices_(call.n_choices),
      ends_(n_answers(call)) {}

std::string OpenAiChoicesWriter::last() {
  std::string out;
  if (include_usage_) {
    Json json = head(true);
    json.update({{"choices", Json::array()}, {"usage", openai_usage(sum_of_choices(ends_, n_choices_))}});
    out = openai_event(json);
  }
  return out + "data: [DONE]\n\n";
}

std::string OpenAiChoicesWriter::whole_text(Json choices, const std::vector<AnswerEnd>& ends) const {
  Json json = head(false);
  json.update({{"choices", std::move(choices)}, {"usage", openai_usage(sum_of_choices(ends, n_choices_))}});
  return to_text(json);
}

std::string openai_error(const Status& status) {
  const int http = http_status(status);
  const char* type = status.code() == Code::kContextOverflow ? "invalid_request_error"
                     : http == 404                           ? "not_found_error"
                     : http == 503                           ? "unavailable_error"
                     : http < 500                            ? "invalid_request_error"
                                                             : "api_error";
  Json body = {{"message", status.message()}, {"type", type}, {"param", nullptr}, {"code", nullptr}};
  if (status.code() == Code::kContextOverflow) body["code"] = "context_length_exceeded";
  if (http == 404) body["code"] = "model_not_found";
  if (!status.reason().empty()) body["code"] = status.reason();
  return to_text({{"error", std::move(body)}});
}

}  // namespace spillway
