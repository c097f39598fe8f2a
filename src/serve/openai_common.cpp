// SPDX-License-Identifier: MIT
#include "serve/openai_common.h"

#include <fmt/format.h>

#include <cmath>

#include "serve/call_json.h"
#include "serve/ollama_options.h"
#include "serve/openai.h"

namespace spillway {
namespace {

constexpr double kLogitBiasMax = 100;

Result<void> parse_tools(const Json& json, Call& call) {
  if (const Json* tools = find_field(json, "tools"); tools != nullptr) {
    if (!tools->is_array()) return invalid("'tools' must be of type array");
    for (const Json& tool : *tools) {
      if (!tool.is_object()) return invalid("each of 'tools' must be an object");
      ASSIGN_OR_RETURN(const auto type, string_field(tool, "type"));
      const Json* function = find_field(tool, "function");
      if (function == nullptr) function = &tool;              // responses: flat
      if (type.value_or("function") != "function") continue;  // built-in tools of their service
      ASSIGN_OR_RETURN(Tool offered, parse_function(*function));
      call.tools.push_back(std::move(offered));
    }
  }
  ASSIGN_OR_RETURN(const auto several, bool_field(json, "parallel_tool_calls"));
  call.several_calls = several.value_or(true);
  const Json* choice = find_field(json, "tool_choice");
  if (choice == nullptr) return {};
  if (choice->is_string()) {
    const std::string name = choice->get<std::string>();
    if (name == "none")
      call.tool_choice = ToolChoice::kNone;
    else if (name == "required")
      call.tool_choice = ToolChoice::kRequired;
    else if (name != "auto")
      return invalid(fmt::format("invalid tool_choice '{}'; it is one of none, auto, required", name.substr(0, 40)));
    if (name == "required" && call.tools.empty())
      return invalid("'tool_choice' requires a call, and there are no tools");
    return {};
  }
  if (!choice->is_object()) return invalid("'tool_choice' must be a string or an object");
  const Json* function = find_field(*choice, "function");
  ASSIGN_OR_RETURN(const auto name, string_field(function != nullptr ? *function : *choice, "name"));
  if (!name) return invalid("'tool_choice' names no function");
  std::erase_if(call.tools, [&](const Tool& tool) { return tool.name != *name; });
  if (call.tools.empty()) return invalid(fmt::format("tool_choice: there is no tool '{}'", name->substr(0, 80)));
  call.tool_choice = ToolChoice::kRequired;
  call.several_calls = false;
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
  if (*type == "json_object") {
    call.any_json = true;
    return {};
  }
  if (*type != "json_schema")
    return invalid(
        fmt::format("invalid response_format '{}'; it is one of text, json_object, json_schema", type->substr(0, 40)));
  const Json* wrapper = find_field(*format, "json_schema");
  const Json* schema = find_field(wrapper != nullptr ? *wrapper : *format, "schema");
  if (schema == nullptr || !schema->is_object()) return invalid("response_format of type json_schema needs a 'schema'");
  call.schema = to_text(*schema);
  return {};
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
    call.effort = *effort == "minimal" || *effort == "low" ? "low" : *effort == "medium" ? "medium" : "high";
  }
  return {};
}

}  // namespace

Result<void> parse_openai_options(const Json& json, Call& call) {
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
  ASSIGN_OR_RETURN(const auto top_k, integer_field(json, "top_k"));
  if (top_k) options.top_k = top_k;
  ASSIGN_OR_RETURN(const auto seed, integer_field(json, "seed"));
  if (seed) options.seed = seed;
  for (const char* name : {"max_tokens", "max_completion_tokens", "max_output_tokens"}) {
    ASSIGN_OR_RETURN(const auto max_tokens, integer_field(json, name));
    if (max_tokens && *max_tokens < 1) return invalid(fmt::format("'{}' must be at least 1", name));
    if (max_tokens) options.num_predict = max_tokens;
  }
  ASSIGN_OR_RETURN(const auto n, integer_field(json, "n"));
  if (n.value_or(1) != 1) return invalid("'n' other than 1 is not supported");
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
    for (const auto& [key, bias] : biases->items()) {
      if (!bias.is_number() || key.empty() || key.size() > 9 ||
          key.find_first_not_of("0123456789") != std::string::npos)
        return invalid("'logit_bias' maps token ids to numbers");
      if (!(std::abs(bias.get<double>()) <= kLogitBiasMax))
        return invalid(
            fmt::format("'logit_bias' must be between {} and {} for each token", -kLogitBiasMax, kLogitBiasMax));
      options.logit_bias.emplace_back(std::stoi(key), bias.get<float>());
    }
  }
  ASSIGN_OR_RETURN(const Json* stream_options, object_field(json, "stream_options"));
  if (stream_options != nullptr) {
    ASSIGN_OR_RETURN(const auto include_usage, bool_field(*stream_options, "include_usage"));
    call.include_usage = include_usage.value_or(false);
  }
  ASSIGN_OR_RETURN(const auto grammar, string_field(json, "grammar"));  // llama-server's extension
  call.grammar = grammar.value_or("");
  ASSIGN_OR_RETURN(const Json* variables, object_field(json, "chat_template_kwargs"));
  if (variables != nullptr) call.template_variables = to_text(*variables);
  ASSIGN_OR_RETURN(call.keep_alive_s, keep_alive_field(json));
  RETURN_IF_ERROR(parse_effort(json, call));
  RETURN_IF_ERROR(parse_response_format(json, call));
  return parse_tools(json, call);
}

Result<std::string> parse_openai_content(const Json* content, bool& has_images) {
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return invalid("'content' must be a string or an array of parts");
  std::string text;
  for (const Json& part : *content) {
    ASSIGN_OR_RETURN(const auto type, string_field(part, "type"));
    const std::string kind = type.value_or("text");
    if (kind == "text" || kind.ends_with("_text")) {  // input_, output_, summary_
      ASSIGN_OR_RETURN(const auto piece, string_field(part, "text"));
      text += piece.value_or("");
    } else if (kind == "image_url" || kind == "file" || kind.starts_with("input_")) {
      has_images = true;
    } else if (kind != "refusal") {
      return invalid(fmt::format("unknown content part type '{}'", kind.substr(0, 40)));
    }
  }
  return text;
}

Json openai_usage(const AnswerEnd& end) {
  return {{"prompt_tokens", end.prompt_tokens},
          {"completion_tokens", end.answer_tokens},
          {"total_tokens", end.prompt_tokens + end.answer_tokens},
          {"prompt_tokens_details", {{"cached_tokens", end.cached_tokens}}}};
}

const char* openai_finish_reason(const AnswerEnd& end) {
  if (end.called_tools) return "tool_calls";
  return end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull ? "length" : "stop";
}

std::string openai_event(const Json& json) { return "data: " + to_text(json) + "\n\n"; }

std::string OpenAiWriter::failure(const Status& status) { return "data: " + openai_error(status) + "\n\n"; }

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
  return to_text({{"error", std::move(body)}});
}

}  // namespace spillway
