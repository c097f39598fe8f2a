// SPDX-License-Identifier: MIT
#include "serve/anthropic.h"

#include <fmt/format.h>

#include "serve/call_json.h"

namespace spillway {
namespace {

Result<std::string> text_of_blocks(const Json& blocks, bool& has_images) {
  if (blocks.is_string()) return blocks.get<std::string>();
  if (!blocks.is_array()) return invalid("content: must be a string or an array of blocks");
  std::string text;
  for (const Json& block : blocks) {
    ASSIGN_OR_RETURN(const auto type, string_field(block, "type"));
    ASSIGN_OR_RETURN(const auto piece, string_field(block, "text"));
    if (type.value_or("") == "image") has_images = true;
    if (type.value_or("text") == "text") text += piece.value_or("");
  }
  return text;
}

// One of their messages may be several of ours: results of tools are messages of their own.
Result<void> parse_message(const Json& json, std::vector<Message>& messages) {
  ASSIGN_OR_RETURN(const auto role, string_field(json, "role"));
  if (role != "user" && role != "assistant" && role != "system")
    return invalid("messages: role must be 'user' or 'assistant'");
  const Json* content = find_field(json, "content");
  if (content == nullptr) return invalid("messages: content is required");
  Message message;
  message.role = *role;
  if (content->is_string()) {
    message.content = content->get<std::string>();
    messages.push_back(std::move(message));
    return {};
  }
  if (!content->is_array()) return invalid("messages: content must be a string or an array of blocks");
  bool only_results = !content->empty();
  for (const Json& block : *content) {
    ASSIGN_OR_RETURN(const auto type, string_field(block, "type"));
    const std::string kind = type.value_or("");
    if (kind != "tool_result") only_results = false;
    if (kind == "text") {
      ASSIGN_OR_RETURN(const auto text, string_field(block, "text"));
      message.content += text.value_or("");
    } else if (kind == "thinking") {
      ASSIGN_OR_RETURN(const auto thinking, string_field(block, "thinking"));
      message.thinking += thinking.value_or("");
    } else if (kind == "image" || kind == "document") {
      message.has_images = true;
    } else if (kind == "tool_use") {
      ASSIGN_OR_RETURN(const auto id, string_field(block, "id"));
      ASSIGN_OR_RETURN(const auto name, string_field(block, "name"));
      const Json* input = find_field(block, "input");
      message.tool_calls.push_back({.id = id.value_or(""),
                                    .name = name.value_or(""),
                                    .arguments = input != nullptr && input->is_object() ? to_text(*input) : "{}"});
    } else if (kind == "tool_result") {
      Message result;
      result.role = "tool";
      ASSIGN_OR_RETURN(const auto id, string_field(block, "tool_use_id"));
      result.tool_call_id = id.value_or("");
      if (const Json* inner = find_field(block, "content"); inner != nullptr) {
        ASSIGN_OR_RETURN(result.content, text_of_blocks(*inner, result.has_images));
      }
      result.tool_name = tool_of_call(messages, result.tool_call_id);
      messages.push_back(std::move(result));
    } else if (kind != "redacted_thinking") {
      return invalid(fmt::format("messages: unknown content block type '{}'", kind.substr(0, 40)));
    }
  }
  if (!only_results) messages.push_back(std::move(message));
  return {};
}

Result<void> parse_anthropic_tools(const Json& json, Call& call) {
  if (const Json* tools = find_field(json, "tools"); tools != nullptr) {
    if (!tools->is_array()) return invalid("tools: must be an array");
    for (const Json& tool : *tools) {
      if (!tool.is_object()) return invalid("tools: each must be an object");
      const Json* schema = find_field(tool, "input_schema");
      if (schema == nullptr) continue;  // tools that their service runs itself
      ASSIGN_OR_RETURN(const auto name, string_field(tool, "name"));
      ASSIGN_OR_RETURN(const auto description, string_field(tool, "description"));
      if (!name || name->empty()) return invalid("tools: name is required");
      call.tools.push_back({.name = *name, .description = description.value_or(""), .parameters = to_text(*schema)});
    }
  }
  ASSIGN_OR_RETURN(const Json* choice, object_field(json, "tool_choice"));
  if (choice == nullptr) return {};
  ASSIGN_OR_RETURN(const auto type, string_field(*choice, "type"));
  if (type != "auto" && type != "none" && type != "any" && type != "tool")
    return invalid("tool_choice: type must be 'auto', 'any', 'tool' or 'none'");
  if (type == "any" && call.tools.empty()) return invalid("tool_choice: there are no tools");
  if (type == "none") call.tool_choice = ToolChoice::kNone;
  if (type == "any" || type == "tool") call.tool_choice = ToolChoice::kRequired;
  ASSIGN_OR_RETURN(const auto one_at_most, bool_field(*choice, "disable_parallel_tool_use"));
  call.several_calls = !one_at_most.value_or(false) && type != "tool";
  if (type != "tool") return {};
  ASSIGN_OR_RETURN(const auto name, string_field(*choice, "name"));
  std::erase_if(call.tools, [&](const Tool& tool) { return tool.name != name.value_or(""); });
  if (call.tools.empty()) return invalid("tool_choice: there is no tool of this name");
  return {};
}

Result<void> parse_output_format(const Json& output, Call& call) {
  const Json* format = find_field(output, "format");
  if (format == nullptr) return {};
  ASSIGN_OR_RETURN(const auto type, string_field(*format, "type"));
  const Json* schema = find_field(*format, "schema");
  if (type != "json_schema" || schema == nullptr || !schema->is_object())
    return invalid("output_config.format: must be of type 'json_schema' and have a 'schema'");
  call.schema = to_text(*schema);
  return {};
}

std::string event(const char* name, const Json& json) {
  return fmt::format("event: {}\ndata: {}\n\n", name, to_text(json));
}

const char* stop_reason(const AnswerEnd& end) {
  if (end.called_tools) return "tool_use";
  if (end.reason == FinishReason::kStopString) return "stop_sequence";
  return end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull ? "max_tokens" : "end_turn";
}

// Cached tokens are counted apart, as this protocol does.
Json json_of_usage(const PromptCount& prompt, size_t answer_tokens) {
  return {{"input_tokens", prompt.prompt_tokens - prompt.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", prompt.cached_tokens},
          {"output_tokens", answer_tokens}};
}
Json json_of_usage(const AnswerEnd& end) {
  return json_of_usage({end.prompt_tokens, end.cached_tokens}, end.answer_tokens);
}

Json json_of_stop(const AnswerEnd& end) {
  Json json = {{"stop_reason", stop_reason(end)}, {"stop_sequence", nullptr}};
  if (end.reason == FinishReason::kStopString && !end.called_tools) json["stop_sequence"] = end.stop_string;
  return json;
}

Json input_of(const ToolCall& call) {
  Json input = Json::parse(call.arguments, nullptr, false);
  return input.is_object() ? input : Json::object();
}

class AnthropicWriter : public AnswerWriter {
 public:
  AnthropicWriter(const Call& call, std::string id) : model_(call.model), id_(std::move(id)) {}

  const char* stream_type() const override { return "text/event-stream"; }

  std::string part(const AnswerPart& part) override {
    std::string out;
    if (part.content.empty() && part.thinking.empty() && part.tool_calls.empty()) return out;
    out += begin();
    if (!part.thinking.empty()) {
      out += open("thinking", {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
      out += delta({{"type", "thinking_delta"}, {"thinking", part.thinking}});
    }
    if (!part.content.empty()) {
      out += open("text", {{"type", "text"}, {"text", ""}});
      out += delta({{"type", "text_delta"}, {"text", part.content}});
    }
    for (const ToolCall& call : part.tool_calls) {
      out += close();
      out += open("tool_use", {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", Json::object()}});
      out += delta({{"type", "input_json_delta"}, {"partial_json", call.arguments}});
      out += close();
    }
    return out;
  }
  void counted(const PromptCount& prompt) override { prompt_ = prompt; }
  // A ping may come before the message begins, which it does not before its tokens are counted.
  std::string heartbeat() override { return (prompt_ ? begin() : "") + event("ping", {{"type", "ping"}}); }
  std::string failure(const Status& status) override {
    return "event: error\ndata: " + anthropic_error(status, id_) + "\n\n";
  }
  std::string end(const AnswerEnd& end) override {
    std::string out = begin() + close();
    out += event("message_delta",
                 {{"type", "message_delta"}, {"delta", json_of_stop(end)}, {"usage", json_of_usage(end)}});
    return out + event("message_stop", {{"type", "message_stop"}});
  }

  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    Json content = Json::array();
    if (!all.thinking.empty()) content.push_back({{"type", "thinking"}, {"thinking", all.thinking}, {"signature", ""}});
    if (!all.content.empty()) content.push_back({{"type", "text"}, {"text", all.content}});
    for (const ToolCall& call : all.tool_calls)
      content.push_back({{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", input_of(call)}});
    Json message = message_head();
    message["content"] = std::move(content);
    message.update(json_of_stop(end));
    message["usage"] = json_of_usage(end);
    return to_text(message);
  }

 private:
  Json message_head() const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_},
            {"content", Json::array()},
            {"stop_reason", nullptr},
            {"stop_sequence", nullptr},
            {"usage", json_of_usage(prompt_.value_or(PromptCount{}), 0)}};
  }
  std::string begin() {
    if (begun_) return "";
    begun_ = true;
    return event("message_start", {{"type", "message_start"}, {"message", message_head()}});
  }
  std::string open(const std::string& kind, Json block) {
    if (open_ == kind) return "";
    std::string out = close();
    open_ = kind;
    return out + event("content_block_start",
                       {{"type", "content_block_start"}, {"index", index_}, {"content_block", std::move(block)}});
  }
  std::string delta(Json what) const {
    return event("content_block_delta",
                 {{"type", "content_block_delta"}, {"index", index_}, {"delta", std::move(what)}});
  }
  std::string close() {
    if (open_.empty()) return "";
    open_.clear();
    return event("content_block_stop", {{"type", "content_block_stop"}, {"index", index_++}});
  }

  const std::string model_, id_;
  std::optional<PromptCount> prompt_;
  bool begun_ = false;
  std::string open_;  // kind of the block that is open
  size_t index_ = 0;
};

}  // namespace

Result<Call> parse_anthropic_messages(std::string_view body, bool counting) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  if (!model || model->empty()) return invalid("model: field required");
  call.model = *model;
  call.greedy_defaults_of_openai = true;
  ASSIGN_OR_RETURN(const auto max_tokens, integer_field(json, "max_tokens"));
  if (!counting && !max_tokens) return invalid("max_tokens: field required");
  if (max_tokens && *max_tokens < 1) return invalid("max_tokens: must be greater than 0");
  call.options.num_predict = max_tokens;
  ASSIGN_OR_RETURN(const auto stream, bool_field(json, "stream"));
  call.stream = stream.value_or(false);
  ASSIGN_OR_RETURN(call.options.temperature, number_field_within(json, "temperature", 0, 1));
  ASSIGN_OR_RETURN(call.options.top_p, number_field_within(json, "top_p", 0, 1));
  ASSIGN_OR_RETURN(call.options.top_k, integer_field(json, "top_k"));
  if (call.options.top_k.value_or(0) < 0) return invalid("'top_k' must be at least 0");
  if (const Json* stops = find_field(json, "stop_sequences"); stops != nullptr) {
    if (!stops->is_array()) return invalid("stop_sequences: must be an array of strings");
    call.options.stop.emplace();
    for (const Json& stop : *stops) {
      if (!stop.is_string()) return invalid("stop_sequences: must be an array of strings");
      call.options.stop->push_back(stop.get<std::string>());
    }
  }
  if (const Json* system = find_field(json, "system"); system != nullptr) {
    bool has_images = false;
    ASSIGN_OR_RETURN(const std::string text, text_of_blocks(*system, has_images));
    if (!text.empty())
      call.messages.push_back(
          {.role = "system", .content = text, .thinking = {}, .tool_calls = {}, .tool_name = {}, .tool_call_id = {}});
  }
  const Json* messages = find_field(json, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    return invalid("messages: at least one message is required");
  for (const Json& message : *messages) RETURN_IF_ERROR(parse_message(message, call.messages));
  RETURN_IF_ERROR(parse_anthropic_tools(json, call));
  call.think = false;
  ASSIGN_OR_RETURN(const Json* thinking, object_field(json, "thinking"));
  if (thinking != nullptr) {
    ASSIGN_OR_RETURN(const auto type, string_field(*thinking, "type"));
    call.think = type == "enabled" || type == "adaptive";
  }
  ASSIGN_OR_RETURN(const Json* output, object_field(json, "output_config"));
  if (output != nullptr) {
    ASSIGN_OR_RETURN(const auto effort, string_field(*output, "effort"));
    if (effort) call.effort = *effort == "low" || *effort == "medium" ? *effort : "high";
    RETURN_IF_ERROR(parse_output_format(*output, call));
  }
  return call;
}

std::unique_ptr<AnswerWriter> make_anthropic_writer(const Call& call, std::string id) {
  return std::make_unique<AnthropicWriter>(call, std::move(id));
}

std::string anthropic_error(const Status& status, const std::string& request_id) {
  const int http = http_status(status);
  const char* type = http == 404                    ? "not_found_error"
                     : http == 403                  ? "permission_error"
                     : http < 500                   ? "invalid_request_error"
                     : status.code() == Code::kBusy ? "overloaded_error"
                                                    : "api_error";
  return to_text(
      {{"type", "error"}, {"error", {{"type", type}, {"message", status.message()}}}, {"request_id", request_id}});
}

}  // namespace spillway
