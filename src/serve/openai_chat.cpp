// SPDX-License-Identifier: MIT
// /v1/chat/completions.
#include <fmt/format.h>

#include "serve/call_json.h"
#include "serve/openai.h"
#include "serve/openai_common.h"

namespace spillway {
namespace {

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
  ASSIGN_OR_RETURN(message.content, parse_openai_content(find_field(json, "content"), message.has_images));
  for (const char* name : {"reasoning", "reasoning_content"}) {
    const Json* thinking = find_field(json, name);
    if (thinking != nullptr && thinking->is_string()) message.thinking = thinking->get<std::string>();
  }
  ASSIGN_OR_RETURN(const auto tool_call_id, string_field(json, "tool_call_id"));
  message.tool_call_id = tool_call_id.value_or("");
  if (message.role == "tool") {
    ASSIGN_OR_RETURN(const auto name, string_field(json, "name"));
    message.tool_name = name.value_or("");
    if (message.tool_name.empty()) message.tool_name = tool_of_call(before, message.tool_call_id);
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

class ChatWriter : public OpenAiWriter {
 public:
  ChatWriter(const Call& call, std::string id, int64_t created_s)
      : model_(call.model), id_(std::move(id)), created_s_(created_s), include_usage_(call.include_usage) {}

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
    return openai_event(chunk(std::move(delta), nullptr, part.scores));
  }

  std::string end(const AnswerEnd& end) override {
    Json delta = Json::object();
    if (!begun_) delta = {{"role", "assistant"}, {"content", ""}};
    std::string out = openai_event(chunk(std::move(delta), openai_finish_reason(end), {}));
    if (include_usage_) {
      Json usage = {{"id", id_},
                    {"object", "chat.completion.chunk"},
                    {"created", created_s_},
                    {"model", model_},
                    {"system_fingerprint", kFingerprint},
                    {"choices", Json::array()},
                    {"usage", openai_usage(end)}};
      out += openai_event(usage);
    }
    return out + "data: [DONE]\n\n";
  }

  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    Json message = {{"role", "assistant"}, {"content", all.content}};
    if (all.content.empty() && !all.tool_calls.empty()) message["content"] = nullptr;
    if (!all.thinking.empty()) message["reasoning"] = message["reasoning_content"] = all.thinking;
    for (const ToolCall& call : all.tool_calls) message["tool_calls"].push_back(json_of_call(call));
    Json choice = {{"index", 0}, {"message", std::move(message)}, {"finish_reason", openai_finish_reason(end)}};
    put_scores(choice, all.scores);
    return to_text({{"id", id_},
                    {"object", "chat.completion"},
                    {"created", created_s_},
                    {"model", model_},
                    {"system_fingerprint", kFingerprint},
                    {"choices", Json::array({std::move(choice)})},
                    {"usage", openai_usage(end)}});
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
    for (const TokenScore& score : scores) {
      Json one = json_of_score(score);
      one["top_logprobs"] = json_of_tops(score);
      choice["logprobs"]["content"].push_back(std::move(one));
    }
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

}  // namespace

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
  RETURN_IF_ERROR(parse_scores(json, call));
  return call;
}

std::unique_ptr<AnswerWriter> make_openai_chat_writer(const Call& call, std::string id, int64_t created_s) {
  return std::make_unique<ChatWriter>(call, std::move(id), created_s);
}

}  // namespace spillway
