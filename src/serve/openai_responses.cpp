// SPDX-License-Identifier: MIT
#include "serve/openai_responses.h"

#include <fmt/format.h>

#include "serve/call_json.h"
#include "serve/openai_common.h"

namespace spillway {
namespace {

Message message_of(std::string role) {
  Message message;
  message.role = std::move(role);
  return message;
}

// Calls and thoughts of one turn are items of their own; the template wants them in one message.
Message& assistant_turn(std::vector<Message>& messages) {
  if (messages.empty() || messages.back().role != "assistant") messages.push_back(message_of("assistant"));
  return messages.back();
}

Result<void> parse_item(const Json& item, std::vector<Message>& messages) {
  if (!item.is_object()) return invalid("each item of 'input' must be an object");
  ASSIGN_OR_RETURN(const auto type, string_field(item, "type"));
  const std::string kind = type.value_or("message");
  if (kind == "message") {
    ASSIGN_OR_RETURN(const auto role, string_field(item, "role"));
    std::string name = role.value_or("");
    if (name == "developer") name = "system";
    if (name != "system" && name != "user" && name != "assistant") return invalid("input: invalid role");
    Message message = message_of(name);
    ASSIGN_OR_RETURN(message.content, parse_openai_content(find_field(item, "content"), message.has_images));
    if (name == "assistant" && !messages.empty() && messages.back().role == "assistant" &&
        messages.back().content.empty())
      messages.back().content = std::move(message.content);
    else
      messages.push_back(std::move(message));
    return {};
  }
  if (kind == "function_call") {
    ASSIGN_OR_RETURN(const auto id, string_field(item, "call_id"));
    ASSIGN_OR_RETURN(const auto name, string_field(item, "name"));
    assistant_turn(messages).tool_calls.push_back(
        {.id = id.value_or(""), .name = name.value_or(""), .arguments = arguments_text(find_field(item, "arguments"))});
    return {};
  }
  if (kind == "function_call_output") {
    Message message = message_of("tool");
    ASSIGN_OR_RETURN(const auto id, string_field(item, "call_id"));
    message.tool_call_id = id.value_or("");
    ASSIGN_OR_RETURN(message.content, parse_openai_content(find_field(item, "output"), message.has_images));
    message.tool_name = tool_of_call(messages, message.tool_call_id);
    messages.push_back(std::move(message));
    return {};
  }
  if (kind == "reasoning") {
    bool ignored = false;
    ASSIGN_OR_RETURN(const std::string summary, parse_openai_content(find_field(item, "summary"), ignored));
    assistant_turn(messages).thinking += summary;
    return {};
  }
  return {};  // items of tools that their service runs itself
}

class ResponsesWriter : public AnswerWriter {
 public:
  ResponsesWriter(const Call& call, std::string id, int64_t created_s)
      : call_(call), id_(std::move(id)), created_s_(created_s) {}

  const char* stream_type() const override { return "text/event-stream"; }

  std::string part(const AnswerPart& part) override {
    std::string out;
    if (!part.thinking.empty()) {
      out += open("reasoning");
      all_.thinking += part.thinking;
      out += event(
          "response.reasoning_summary_text.delta",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"summary_index", 0}, {"delta", part.thinking}});
    }
    if (!part.content.empty()) {
      out += open("message");
      all_.content += part.content;
      out += event("response.output_text.delta", {{"item_id", item_id_},
                                                  {"output_index", output_.size()},
                                                  {"content_index", 0},
                                                  {"delta", part.content},
                                                  {"logprobs", Json::array()}});
    }
    for (const ToolCall& call : part.tool_calls) {
      out += begin() + close();
      const std::string item_id = fmt::format("fc_{}_{}", id_, output_.size());
      Json item = function_call(item_id, call, "in_progress");
      item["arguments"] = "";
      const size_t index = output_.size();
      out += event("response.output_item.added", {{"output_index", index}, {"item", item}});
      out += event("response.function_call_arguments.delta",
                   {{"item_id", item_id}, {"output_index", index}, {"delta", call.arguments}});
      out += event("response.function_call_arguments.done",
                   {{"item_id", item_id}, {"output_index", index}, {"name", call.name}, {"arguments", call.arguments}});
      output_.push_back(function_call(item_id, call, "completed"));
      out += event("response.output_item.done", {{"output_index", index}, {"item", output_.back()}});
    }
    return out;
  }
  std::string heartbeat() override { return begin() + ": still there\n\n"; }
  std::string failure(const Status& status) override {
    Json response = object("failed", nullptr);
    response["error"] = {{"code", status.code() == Code::kContextOverflow ? "context_length_exceeded" : "server_error"},
                         {"message", status.message()}};
    return begin() + event("response.failed", {{"response", std::move(response)}});
  }
  std::string end(const AnswerEnd& end) override {
    std::string out = begin() + close();
    const bool cut = end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull;
    return out + event(cut ? "response.incomplete" : "response.completed",
                       {{"response", object(cut ? "incomplete" : "completed", &end)}});
  }
  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    (void)part(all);
    (void)close();
    const bool cut = end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull;
    return to_text(object(cut ? "incomplete" : "completed", &end));
  }

 private:
  std::string event(const char* type, Json fields) {
    Json json = {{"type", type}, {"sequence_number", sequence_++}};
    json.update(fields);
    return fmt::format("event: {}\ndata: {}\n\n", type, to_text(json));
  }
  static Json function_call(const std::string& item_id, const ToolCall& call, const char* status) {
    return {{"id", item_id},      {"type", "function_call"}, {"status", status},
            {"call_id", call.id}, {"name", call.name},       {"arguments", call.arguments}};
  }
  std::string begin() {
    if (begun_) return "";
    begun_ = true;
    const Json response = object("in_progress", nullptr);
    const std::string created = event("response.created", {{"response", response}});  // numbered in this order
    return created + event("response.in_progress", {{"response", response}});
  }
  std::string open(const std::string& kind) {
    std::string out = begin();
    if (open_ == kind) return out;
    out += close();
    open_ = kind;
    all_ = {};
    item_id_ = fmt::format("{}_{}_{}", kind == "message" ? "msg" : "rs", id_, output_.size());
    out += event("response.output_item.added", {{"output_index", output_.size()}, {"item", item("in_progress")}});
    if (kind == "message")
      out += event(
          "response.content_part.added",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"content_index", 0}, {"part", text_part("")}});
    else
      out += event(
          "response.reasoning_summary_part.added",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"summary_index", 0}, {"part", summary_part("")}});
    return out;
  }
  std::string close() {
    if (open_.empty()) return "";
    std::string out;
    if (open_ == "message") {
      out += event("response.output_text.done", {{"item_id", item_id_},
                                                 {"output_index", output_.size()},
                                                 {"content_index", 0},
                                                 {"text", all_.content},
                                                 {"logprobs", Json::array()}});
      out += event("response.content_part.done", {{"item_id", item_id_},
                                                  {"output_index", output_.size()},
                                                  {"content_index", 0},
                                                  {"part", text_part(all_.content)}});
    } else {
      out += event(
          "response.reasoning_summary_text.done",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"summary_index", 0}, {"text", all_.thinking}});
      out += event("response.reasoning_summary_part.done", {{"item_id", item_id_},
                                                            {"output_index", output_.size()},
                                                            {"summary_index", 0},
                                                            {"part", summary_part(all_.thinking)}});
    }
    const Json done = item("completed");
    out += event("response.output_item.done", {{"output_index", output_.size()}, {"item", done}});
    output_.push_back(done);
    open_.clear();
    return out;
  }
  static Json text_part(const std::string& text) {
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
  }
  static Json summary_part(const std::string& text) { return {{"type", "summary_text"}, {"text", text}}; }
  Json item(const char* status) const {
    const bool done = std::string_view(status) == "completed";
    if (open_ == "message")
      return {{"id", item_id_},
              {"type", "message"},
              {"status", status},
              {"role", "assistant"},
              {"content", done ? Json::array({text_part(all_.content)}) : Json::array()}};
    Json summary = Json::array();
    if (done) summary.push_back(summary_part(all_.thinking));
    return {{"id", item_id_}, {"type", "reasoning"}, {"status", status}, {"summary", std::move(summary)}};
  }

  Json object(const char* status, const AnswerEnd* end) const {
    Json tools = Json::array();
    for (const Tool& tool : call_.tools)
      tools.push_back({{"type", "function"},
                       {"name", tool.name},
                       {"description", tool.description},
                       {"parameters", Json::parse(tool.parameters, nullptr, false)},
                       {"strict", false}});
    Json json = {{"id", id_},
                 {"object", "response"},
                 {"created_at", created_s_},
                 {"status", status},
                 {"error", nullptr},
                 {"incomplete_details", nullptr},
                 {"instructions", nullptr},
                 {"max_output_tokens", nullptr},
                 {"model", call_.model},
                 {"output", output_},
                 {"parallel_tool_calls", true},
                 {"previous_response_id", nullptr},
                 {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                 {"store", false},
                 {"temperature", call_.options.temperature.value_or(1.0)},
                 {"text", {{"format", {{"type", "text"}}}}},
                 {"tool_choice", "auto"},
                 {"tools", std::move(tools)},
                 {"top_p", call_.options.top_p.value_or(1.0)},
                 {"truncation", "disabled"},
                 {"usage", nullptr},
                 {"metadata", Json::object()}};
    if (call_.options.num_predict) json["max_output_tokens"] = *call_.options.num_predict;
    if (end == nullptr) return json;
    if (std::string_view(status) == "completed") json["completed_at"] = created_s_ + static_cast<int64_t>(end->total_s);
    if (std::string_view(status) == "incomplete") json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    json["usage"] = {{"input_tokens", end->prompt_tokens},
                     {"input_tokens_details", {{"cached_tokens", end->cached_tokens}}},
                     {"output_tokens", end->answer_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", 0}}},
                     {"total_tokens", end->prompt_tokens + end->answer_tokens}};
    return json;
  }

  const Call call_;
  const std::string id_;
  const int64_t created_s_;
  bool begun_ = false;
  size_t sequence_ = 0;
  Json output_ = Json::array();  // items that are complete
  std::string open_;             // "message", "reasoning"; empty: none is open
  std::string item_id_;
  AnswerPart all_;  // of the open item
};

}  // namespace

Result<Call> parse_openai_responses(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  for (const char* name : {"previous_response_id", "conversation", "prompt"})
    if (find_field(json, name) != nullptr)
      return invalid(fmt::format("'{}' is not supported: nothing is stored here", name));
  ASSIGN_OR_RETURN(const auto background, bool_field(json, "background"));
  if (background.value_or(false)) return invalid("'background' is not supported");
  Call call;
  RETURN_IF_ERROR(parse_openai_options(json, call));
  ASSIGN_OR_RETURN(const auto instructions, string_field(json, "instructions"));
  if (instructions && !instructions->empty()) {
    call.messages.push_back(message_of("system"));
    call.messages.back().content = *instructions;
  }
  const Json* input = find_field(json, "input");
  if (input == nullptr) return invalid("input is required");
  if (input->is_string()) {
    call.messages.push_back(message_of("user"));
    call.messages.back().content = input->get<std::string>();
  } else if (input->is_array() && !input->empty()) {
    for (const Json& item : *input) RETURN_IF_ERROR(parse_item(item, call.messages));
  } else {
    return invalid("'input' must be a string or an array of items");
  }
  return call;
}

std::unique_ptr<AnswerWriter> make_openai_responses_writer(const Call& call, std::string id, int64_t created_s) {
  return std::make_unique<ResponsesWriter>(call, std::move(id), created_s);
}

}  // namespace spillway
