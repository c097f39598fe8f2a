// SPDX-License-Identifier: MIT
#include "serve/openai.h"

#include <fmt/format.h>

#include <cstring>

#include "serve/ollama.h"

namespace spillway {
namespace {

tl::unexpected<Status> invalid(std::string message) { return error(Code::kInvalidArgument, std::move(message)); }

constexpr const char* kFingerprint = "fp_spillway";

// Text parts are joined; images are noted. A message without content is empty.
Result<std::string> parse_content(const Json* content, bool& has_images) {
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return invalid("'content' must be a string or an array of parts");
  std::string text;
  for (const Json& part : *content) {
    ASSIGN_OR_RETURN(const auto type, string_field(part, "type"));
    const std::string kind = type.value_or("");
    if (kind == "text" || kind == "input_text" || kind == "output_text") {
      ASSIGN_OR_RETURN(const auto piece, string_field(part, "text"));
      text += piece.value_or("");
    } else if (kind == "image_url" || kind == "input_image" || kind == "input_audio") {
      has_images = true;
    } else if (kind != "refusal") {
      return invalid(fmt::format("unknown content part type '{}'", kind.substr(0, 40)));
    }
  }
  return text;
}

// Arguments are a string of JSON in this protocol; anything else than an object becomes one.
std::string arguments_text(const Json* arguments) {
  if (arguments == nullptr) return "{}";
  if (!arguments->is_string()) return to_text(*arguments);
  const Json parsed = Json::parse(arguments->get<std::string>(), nullptr, false);
  return parsed.is_object() ? arguments->get<std::string>() : "{}";
}

Result<Message> parse_message(const Json& json, const std::vector<Message>& before) {
  if (!json.is_object()) return invalid("each of 'messages' must be an object");
  Message message;
  ASSIGN_OR_RETURN(const auto role, string_field(json, "role"));
  message.role = role.value_or("");
  if (message.role == "developer") message.role = "system";
  if (message.role == "function") message.role = "tool";
  if (message.role != "system" && message.role != "user" && message.role != "assistant" && message.role != "tool")
    return invalid(fmt::format("invalid role '{}'; it is one of system, developer, user, assistant, tool",
                               message.role.substr(0, 40)));
  ASSIGN_OR_RETURN(message.content, parse_content(find_field(json, "content"), message.has_images));
  for (const char* name : {"reasoning", "reasoning_content"}) {
    const Json* thinking = find_field(json, name);
    if (thinking != nullptr && thinking->is_string()) message.thinking = thinking->get<std::string>();
  }
  ASSIGN_OR_RETURN(const auto tool_call_id, string_field(json, "tool_call_id"));
  message.tool_call_id = tool_call_id.value_or("");
  if (message.role == "tool") {
    ASSIGN_OR_RETURN(const auto name, string_field(json, "name"));
    message.tool_name = name.value_or("");
    // The name is with the call that this answers.
    for (const Message& earlier : before)
      for (const ToolCall& call : earlier.tool_calls)
        if (message.tool_name.empty() && call.id == message.tool_call_id) message.tool_name = call.name;
  }
  if (const Json* calls = find_field(json, "tool_calls"); calls != nullptr) {
    if (!calls->is_array()) return invalid("'tool_calls' must be of type array");
    for (const Json& call : *calls) {
      const Json* function = find_field(call, "function");
      if (function == nullptr) return invalid("a tool call has no 'function'");
      ASSIGN_OR_RETURN(const auto id, string_field(call, "id"));
      ASSIGN_OR_RETURN(const auto name, string_field(*function, "name"));
      message.tool_calls.push_back({.id = id.value_or(""),
                                    .name = name.value_or(""),
                                    .arguments = arguments_text(find_field(*function, "arguments"))});
    }
  }
  return message;
}

Result<void> parse_tools(const Json& json, Call& call) {
  if (const Json* tools = find_field(json, "tools"); tools != nullptr) {
    if (!tools->is_array()) return invalid("'tools' must be of type array");
    for (const Json& tool : *tools) {
      ASSIGN_OR_RETURN(const auto type, string_field(tool, "type"));
      const Json* function = find_field(tool, "function");
      if (function == nullptr) function = &tool;              // responses: flat
      if (type.value_or("function") != "function") continue;  // built-in tools of their service
      ASSIGN_OR_RETURN(const auto name, string_field(*function, "name"));
      ASSIGN_OR_RETURN(const auto description, string_field(*function, "description"));
      if (!name || name->empty()) return invalid("each of 'tools' needs a function with a 'name'");
      const Json* parameters = find_field(*function, "parameters");
      call.tools.push_back({.name = *name,
                            .description = description.value_or(""),
                            .parameters = parameters != nullptr ? to_text(*parameters) : "{}"});
    }
  }
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
    return {};
  }
  const Json* function = find_field(*choice, "function");
  ASSIGN_OR_RETURN(const auto name, string_field(function != nullptr ? *function : *choice, "name"));
  if (!name) return invalid("'tool_choice' names no function");
  std::erase_if(call.tools, [&](const Tool& tool) { return tool.name != *name; });
  if (call.tools.empty()) return invalid(fmt::format("tool_choice: there is no tool '{}'", name->substr(0, 80)));
  call.tool_choice = ToolChoice::kRequired;
  return {};
}

Result<void> parse_response_format(const Json& json, Call& call) {
  const Json* format = find_field(json, "response_format");
  if (format == nullptr) {
    const Json* text = find_field(json, "text");  // responses
    format = text != nullptr ? find_field(*text, "format") : nullptr;
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
  if (const Json* reasoning = find_field(json, "reasoning"); !effort && reasoning != nullptr) {
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

Json json_of_usage(const AnswerEnd& end) {
  return {{"prompt_tokens", end.prompt_tokens},
          {"completion_tokens", end.answer_tokens},
          {"total_tokens", end.prompt_tokens + end.answer_tokens},
          {"prompt_tokens_details", {{"cached_tokens", end.cached_tokens}}}};
}

const char* finish_reason(const AnswerEnd& end) {
  if (end.called_tools) return "tool_calls";
  return end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull ? "length" : "stop";
}

Json json_of_score(const TokenScore& score, bool with_top) {
  Json bytes = Json::array();
  for (const char c : score.bytes) bytes.push_back(static_cast<unsigned char>(c));
  Json json = {{"token", score.bytes}, {"logprob", score.logprob}, {"bytes", std::move(bytes)}};
  if (!with_top) return json;
  json["top_logprobs"] = Json::array();
  for (const TokenScore& other : score.top) json["top_logprobs"].push_back(json_of_score(other, false));
  return json;
}

std::string event(const Json& json) { return "data: " + to_text(json) + "\n\n"; }

class ChatWriter : public AnswerWriter {
 public:
  ChatWriter(const Call& call, std::string id, int64_t created_s)
      : model_(call.model), id_(std::move(id)), created_s_(created_s), include_usage_(call.include_usage) {}

  const char* stream_type() const override { return "text/event-stream"; }

  std::string part(const AnswerPart& part) override {
    if (part.empty()) return "";
    Json delta = Json::object();
    if (!begun_) {
      delta["role"] = "assistant";
      delta["content"] = "";
    }
    begun_ = true;
    if (!part.content.empty()) delta["content"] = part.content;
    if (!part.thinking.empty()) delta["reasoning"] = delta["reasoning_content"] = part.thinking;
    for (const ToolCall& call : part.tool_calls) delta["tool_calls"].push_back(json_of_call(call));
    return event(chunk(std::move(delta), nullptr, part.scores));
  }
  std::string heartbeat() override { return ": still there\n\n"; }
  std::string failure(const Status& status) override { return "data: " + openai_error(status) + "\n\n"; }

  std::string end(const AnswerEnd& end) override {
    Json delta = Json::object();
    if (!begun_) delta = {{"role", "assistant"}, {"content", ""}};
    std::string out = event(chunk(std::move(delta), finish_reason(end), {}));
    if (include_usage_) {
      Json usage = {{"id", id_},
                    {"object", "chat.completion.chunk"},
                    {"created", created_s_},
                    {"model", model_},
                    {"system_fingerprint", kFingerprint},
                    {"choices", Json::array()},
                    {"usage", json_of_usage(end)}};
      out += event(usage);
    }
    return out + "data: [DONE]\n\n";
  }

  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    Json message = {{"role", "assistant"}, {"content", all.content}};
    if (all.content.empty() && !all.tool_calls.empty()) message["content"] = nullptr;
    if (!all.thinking.empty()) message["reasoning"] = message["reasoning_content"] = all.thinking;
    for (const ToolCall& call : all.tool_calls) message["tool_calls"].push_back(json_of_call(call));
    Json choice = {{"index", 0}, {"message", std::move(message)}, {"finish_reason", finish_reason(end)}};
    put_scores(choice, all.scores);
    return to_text({{"id", id_},
                    {"object", "chat.completion"},
                    {"created", created_s_},
                    {"model", model_},
                    {"system_fingerprint", kFingerprint},
                    {"choices", Json::array({std::move(choice)})},
                    {"usage", json_of_usage(end)}});
  }

 private:
  Json chunk(Json delta, const char* reason, const std::vector<TokenScore>& scores) const {
    Json choice = {{"index", 0}, {"delta", std::move(delta)}, {"finish_reason", nullptr}};
    if (reason != nullptr) choice["finish_reason"] = reason;
    put_scores(choice, scores);
    return {{"id", id_},       {"object", "chat.completion.chunk"},  {"created", created_s_},
            {"model", model_}, {"system_fingerprint", kFingerprint}, {"choices", Json::array({std::move(choice)})}};
  }
  static void put_scores(Json& choice, const std::vector<TokenScore>& scores) {
    for (const TokenScore& score : scores) choice["logprobs"]["content"].push_back(json_of_score(score, true));
  }
  Json json_of_call(const ToolCall& call) {
    return {{"index", n_calls_++},
            {"id", call.id},
            {"type", "function"},
            {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
  }

  const std::string model_, id_;
  const int64_t created_s_;
  const bool include_usage_;
  bool begun_ = false;
  size_t n_calls_ = 0;
};

class CompletionWriter : public AnswerWriter {
 public:
  CompletionWriter(const Call& call, std::string id, int64_t created_s)
      : model_(call.model), id_(std::move(id)), created_s_(created_s), include_usage_(call.include_usage) {}

  const char* stream_type() const override { return "text/event-stream"; }
  std::string part(const AnswerPart& part) override {
    return part.content.empty() && part.scores.empty() ? "" : event(object(part, nullptr, nullptr));
  }
  std::string heartbeat() override { return ": still there\n\n"; }
  std::string failure(const Status& status) override { return "data: " + openai_error(status) + "\n\n"; }
  std::string end(const AnswerEnd& end) override {
    return event(object({}, finish_reason(end), include_usage_ ? &end : nullptr)) + "data: [DONE]\n\n";
  }
  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    return to_text(object(all, finish_reason(end), &end));
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
    if (end != nullptr) json["usage"] = json_of_usage(*end);
    return json;
  }

  const std::string model_, id_;
  const int64_t created_s_;
  const bool include_usage_;
};

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
  const auto take = [&](const char* name, std::optional<double>& to) -> Result<void> {
    ASSIGN_OR_RETURN(const auto value, number_field(json, name));
    if (value) to = value;
    return {};
  };
  RETURN_IF_ERROR(take("temperature", options.temperature));
  RETURN_IF_ERROR(take("top_p", options.top_p));
  RETURN_IF_ERROR(take("min_p", options.min_p));
  RETURN_IF_ERROR(take("frequency_penalty", options.frequency_penalty));
  RETURN_IF_ERROR(take("presence_penalty", options.presence_penalty));
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
      options.logit_bias.emplace_back(std::stoi(key), bias.get<float>());
    }
  }
  if (const Json* stream_options = find_field(json, "stream_options"); stream_options != nullptr) {
    ASSIGN_OR_RETURN(const auto include_usage, bool_field(*stream_options, "include_usage"));
    call.include_usage = include_usage.value_or(false);
  }
  ASSIGN_OR_RETURN(const auto grammar, string_field(json, "grammar"));  // llama-server's extension
  call.grammar = grammar.value_or("");
  if (const Json* variables = find_field(json, "chat_template_kwargs"); variables != nullptr) {
    if (!variables->is_object()) return invalid("'chat_template_kwargs' must be of type object");
    call.template_variables = to_text(*variables);
  }
  ASSIGN_OR_RETURN(call.keep_alive_s, keep_alive_field(json));
  RETURN_IF_ERROR(parse_effort(json, call));
  RETURN_IF_ERROR(parse_response_format(json, call));
  return parse_tools(json, call);
}

Result<Call> parse_openai_chat(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  RETURN_IF_ERROR(parse_openai_options(json, call));
  const Json* messages = find_field(json, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) return invalid("[] is too short - 'messages'");
  for (const Json& message : *messages) {
    ASSIGN_OR_RETURN(Message parsed, parse_message(message, call.messages));
    call.messages.push_back(std::move(parsed));
  }
  ASSIGN_OR_RETURN(const auto logprobs, bool_field(json, "logprobs"));
  ASSIGN_OR_RETURN(const auto top_logprobs, integer_field(json, "top_logprobs"));
  if (top_logprobs && (*top_logprobs < 0 || *top_logprobs > 20))
    return invalid("top_logprobs must be between 0 and 20");
  call.scores = logprobs.value_or(false);
  call.top_scores = static_cast<size_t>(top_logprobs.value_or(0));
  return call;
}

Result<Call> parse_openai_completion(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  call.kind = CallKind::kRaw;
  RETURN_IF_ERROR(parse_openai_options(json, call));
  const Json* prompt = find_field(json, "prompt");
  if (prompt != nullptr && prompt->is_array() && prompt->size() == 1 && prompt->front().is_string())
    prompt = &prompt->front();
  if (prompt == nullptr) return invalid("prompt is required");
  if (prompt->is_string()) {
    call.prompt = prompt->get<std::string>();
  } else if (prompt->is_array() && !prompt->empty()) {
    call.kind = CallKind::kTokens;
    for (const Json& id : *prompt) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
        return invalid("'prompt' must be one text, or one array of token ids");
      call.tokens.push_back(static_cast<TokenId>(id.get<int64_t>()));
    }
  } else {
    return invalid("'prompt' must be one text, or one array of token ids");
  }
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

Result<EmbedCall> parse_openai_embeddings(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  EmbedCall call;
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  if (!model || model->empty()) return invalid("model is required");
  call.model = *model;
  ASSIGN_OR_RETURN(const auto format, string_field(json, "encoding_format"));
  if (format && *format != "float" && *format != "base64")
    return invalid(fmt::format("invalid encoding_format '{}'; it is float or base64", format->substr(0, 40)));
  call.as_base64 = format.value_or("float") == "base64";
  ASSIGN_OR_RETURN(call.dimensions, integer_field(json, "dimensions"));
  if (call.dimensions && *call.dimensions < 1) return invalid("'dimensions' must be at least 1");
  call.truncate = false;
  const Json* input = find_field(json, "input");
  if (input == nullptr) return invalid("input is required");
  const auto token_list = [](const Json& list) -> std::optional<std::vector<TokenId>> {
    std::vector<TokenId> ids;
    for (const Json& id : list) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) return std::nullopt;
      ids.push_back(static_cast<TokenId>(id.get<int64_t>()));
    }
    return ids;
  };
  if (input->is_string()) {
    call.texts.push_back(input->get<std::string>());
  } else if (input->is_array() && !input->empty() && input->front().is_number()) {
    const auto ids = token_list(*input);
    if (!ids) return invalid("invalid input type");
    call.token_texts.push_back(*ids);
  } else if (input->is_array() && !input->empty()) {
    for (const Json& item : *input) {
      if (item.is_string()) {
        call.texts.push_back(item.get<std::string>());
      } else if (const auto ids = item.is_array() ? token_list(item) : std::nullopt; ids && !ids->empty()) {
        call.token_texts.push_back(*ids);
      } else {
        return invalid("invalid input type");
      }
    }
    if (!call.texts.empty() && !call.token_texts.empty()) return invalid("input mixes texts and token ids");
  } else {
    return invalid("invalid input type");
  }
  return call;
}

std::unique_ptr<AnswerWriter> make_openai_chat_writer(const Call& call, std::string id, int64_t created_s) {
  return std::make_unique<ChatWriter>(call, std::move(id), created_s);
}
std::unique_ptr<AnswerWriter> make_openai_completion_writer(const Call& call, std::string id, int64_t created_s) {
  return std::make_unique<CompletionWriter>(call, std::move(id), created_s);
}

std::string openai_embed_reply(const EmbedCall& call, const EmbedResult& result) {
  Json data = Json::array();
  for (const auto& vector : result.vectors) {
    Json item = {{"object", "embedding"}, {"index", data.size()}};
    if (call.as_base64) {
      std::string bytes(vector.size() * sizeof(float), '\0');  // little-endian, as all machines we run on
      std::memcpy(bytes.data(), vector.data(), bytes.size());
      item["embedding"] = base64(bytes);
    } else {
      item["embedding"] = vector;
    }
    data.push_back(std::move(item));
  }
  return to_text({{"object", "list"},
                  {"data", std::move(data)},
                  {"model", call.model},
                  {"usage", {{"prompt_tokens", result.prompt_tokens}, {"total_tokens", result.prompt_tokens}}}});
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
  return to_text({{"error", std::move(body)}});
}

}  // namespace spillway
