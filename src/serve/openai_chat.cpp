// SPDX-License-Identifier: MIT
// /v1/chat/completions.
#include <fmt/format.h>

#include "chat/template.h"
#include "serve/call_json.h"
#include "serve/openai.h"
#include "serve/openai_common.h"
#include "serve/openai_tools.h"

namespace spillway {
namespace {

Result<Message> parse_openai_message(const Json& json) {
  if (!json.is_object()) return invalid("each of 'messages' must be an object");
  Message message;
  ASSIGN_OR_RETURN(const auto role, string_field(json, "role"));
  message.role = role.value_or("");
  if (message.role == "developer") message.role = "system";
  if (message.role == "function") message.role = "tool";
  if (message.role != "system" && message.role != "user" && message.role != "assistant" && message.role != "tool")
    return invalid(fmt::format("invalid role '{}'; it is one of system, developer, user, assistant, tool",
                               message.role.substr(0, 40)));
  ASSIGN_OR_RETURN(message.content, parse_openai_content(find_field(json, "content"), message.role, message));
  if (message.content.empty() && message.role == "assistant") {
    ASSIGN_OR_RETURN(const auto refusal, string_field(json, "refusal"));
    message.content = refusal.value_or("");
  }
  if (find_field(json, "audio") != nullptr)
    return invalid("an assistant's 'audio' is not stored here; send what it said as 'content'");
  for (const char* name : {"reasoning", "reasoning_content"}) {
    const Json* thinking = find_field(json, name);
    if (thinking != nullptr && thinking->is_string()) message.thinking = thinking->get<std::string>();
  }
  ASSIGN_OR_RETURN(const auto tool_call_id, string_field(json, "tool_call_id"));
  message.tool_call_id = tool_call_id.value_or("");
  if (message.role == "tool") {
    ASSIGN_OR_RETURN(const auto name, string_field(json, "name"));
    message.tool_name = name.value_or("");
  }
  if (const Json* calls = find_field(json, "tool_calls"); calls != nullptr) {
    if (!calls->is_array()) return invalid("'tool_calls' must be of type array");
    for (const Json& call : *calls) {
      ASSIGN_OR_RETURN(const auto id, string_field(call, "id"));
      if (const Json* custom = find_field(call, "custom"); custom != nullptr) {
        ASSIGN_OR_RETURN(const auto name, string_field(*custom, "name"));
        ASSIGN_OR_RETURN(const auto input, string_field(*custom, "input"));
        message.tool_calls.push_back({.id = id.value_or(""),
                                      .name = name.value_or(""),
                                      .arguments = arguments_of_custom_call(input.value_or(""))});
        continue;
      }
      const Json* function = find_field(call, "function");
      if (function == nullptr) return invalid("a tool call has no 'function'");
      ASSIGN_OR_RETURN(const auto name, string_field(*function, "name"));
      message.tool_calls.push_back({.id = id.value_or(""),
                                    .name = name.value_or(""),
                                    .arguments = arguments_text(find_field(*function, "arguments"))});
    }
  }
  // The form before "tool_calls".
  if (const Json* call = find_field(json, "function_call"); call != nullptr && call->is_object()) {
    ASSIGN_OR_RETURN(const auto name, string_field(*call, "name"));
    message.tool_calls.push_back(
        {.id = {}, .name = name.value_or(""), .arguments = arguments_text(find_field(*call, "arguments"))});
  }
  return message;
}

class ChatWriter : public OpenAiChoicesWriter {
 public:
  ChatWriter(const Call& call, std::string id, int64_t created_s)
      : OpenAiChoicesWriter(call, std::move(id), created_s), origins_(call.origins), states_(call.n_choices) {}

  std::string part(const AnswerPart& part) override {
    if (part.empty()) return "";
    Json delta = first_delta(part.choice);
    if (!part.content.empty()) delta["content"] = part.content;
    if (!part.thinking.empty()) delta["reasoning"] = delta["reasoning_content"] = part.thinking;
    for (const ToolCall& call : part.tool_calls)
      delta["tool_calls"].push_back(json_of_call(call, states_[part.choice].n_calls++));
    return openai_event(chunk(part.choice, std::move(delta), nullptr, part.scores));
  }

  std::string end(const AnswerEnd& end) override {
    ends_[end.choice] = end;
    return openai_event(chunk(end.choice, first_delta(end.choice), openai_finish_reason(end), {}));
  }
  std::string whole_of(const std::vector<Answer>& answers) override {
    Json choices = Json::array();
    std::vector<AnswerEnd> ends;
    for (const auto& [all, end] : answers) {
      Json message = {{"role", "assistant"}, {"content", all.content}, {"refusal", nullptr}};
      if (all.content.empty() && !all.tool_calls.empty()) message["content"] = nullptr;
      if (!all.thinking.empty()) message["reasoning"] = message["reasoning_content"] = all.thinking;
      for (size_t i = 0; i < all.tool_calls.size(); ++i)
        message["tool_calls"].push_back(json_of_call(all.tool_calls[i], i));
      Json choice = {{"index", choices.size()},
                     {"message", std::move(message)},
                     {"logprobs", nullptr},
                     {"finish_reason", openai_finish_reason(end)}};
      put_scores(choice, all.scores);
      choices.push_back(std::move(choice));
      ends.push_back(end);
    }
    return whole_text(std::move(choices), ends);
  }

 private:
  struct State {
    bool begun = false;
    size_t n_calls = 0;
  };

  Json head(bool streamed) const override {
    return {{"id", id_},
            {"object", streamed ? "chat.completion.chunk" : "chat.completion"},
            {"created", created_s_},
            {"model", model_},
            {"service_tier", "default"},
            {"system_fingerprint", kFingerprint}};
  }
  Json first_delta(size_t choice) {
    if (std::exchange(states_[choice].begun, true)) return Json::object();
    return {{"role", "assistant"}, {"content", ""}};
  }
  Json chunk(size_t choice_index, Json delta, const char* reason, const std::vector<TokenScore>& scores) const {
    Json choice = {
        {"index", choice_index}, {"delta", std::move(delta)}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
    if (reason != nullptr) choice["finish_reason"] = reason;
    put_scores(choice, scores);
    Json json = head(true);
    json["choices"] = Json::array({std::move(choice)});
    if (include_usage_) json["usage"] = nullptr;
    return json;
  }
  static void put_scores(Json& choice, const std::vector<TokenScore>& scores) {
    for (const TokenScore& score : scores) {
      Json one = json_of_score(score);
      one["top_logprobs"] = json_of_tops(score);
      choice["logprobs"]["content"].push_back(std::move(one));
    }
    if (!scores.empty()) choice["logprobs"]["refusal"] = nullptr;
  }
  Json json_of_call(const ToolCall& call, size_t index) const {
    const auto origin = origins_.find(call.name);
    if (origin != origins_.end() && origin->second.kind == ToolKind::kCustom)
      return {{"index", index},
              {"id", call.id},
              {"type", "custom"},
              {"custom", {{"name", origin->second.name}, {"input", input_of_custom_call(call)}}}};
    return {{"index", index},
            {"id", call.id},
            {"type", "function"},
            {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
  }

  const std::map<std::string, ToolOrigin> origins_;
  std::vector<State> states_;
};

}  // namespace

Result<Call> parse_openai_chat(std::string_view body) {
  static constexpr const char* kFields[] = {
      "messages",     "tools",      "tool_choice", "parallel_tool_calls",   "logprobs",
      "top_logprobs", "modalities", "n",           "add_generation_prompt", "continue_final_message"};
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  RETURN_IF_ERROR(parse_openai_options(json, 1, call));
  for (const char* name : {"functions", "function_call"})
    if (find_field(json, name) != nullptr)
      return invalid(fmt::format("'{}' is not supported; use 'tools' and 'tool_choice'", name));
  if (find_field(json, "audio") != nullptr) return invalid("'audio' is not supported: no model here speaks");
  if (const Json* modalities = find_field(json, "modalities"); modalities != nullptr) {
    if (!modalities->is_array()) return invalid("'modalities' must be of type array");
    for (const Json& modality : *modalities)
      if (modality != "text") return invalid(fmt::format("'modalities': {} is not supported", to_text(modality)));
  }
  RETURN_IF_ERROR(check_openai_fields(json, kFields, call));
  RETURN_IF_ERROR(parse_n(json, call));
  ASSIGN_OR_RETURN(const auto continues, bool_field(json, "continue_final_message"));
  call.continue_last_message = continues.value_or(true);

  Toolbox tools;
  if (const Json* list = find_field(json, "tools"); list != nullptr)
    RETURN_IF_ERROR(add_openai_tools(*list, false, tools, call));
  if (call.list_waiting_tools) tools.list_all();
  const Json* messages = find_field(json, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) return invalid("[] is too short - 'messages'");
  for (const Json& message : *messages) {
    ASSIGN_OR_RETURN(Message parsed, parse_openai_message(message));
    call.messages.push_back(std::move(parsed));
  }
  name_tool_results(call.messages);
  // In any case the prompt ends with the beginning of an answer, or within the one that is gone on with.
  ASSIGN_OR_RETURN(const auto begins_answer, bool_field(json, "add_generation_prompt"));
  if (begins_answer == (call.continue_last_message && continues_last_message(call.messages)))
    call.not_applied.emplace_back("add_generation_prompt");
  RETURN_IF_ERROR(read_openai_choice(json, tools, call));
  call.tools = tools.take();
  RETURN_IF_ERROR(parse_scores(json, call));
  return call;
}

std::unique_ptr<AnswerWriter> make_openai_chat_writer(const Call& call, std::string id, int64_t created_s) {
  return std::make_unique<ChatWriter>(call, std::move(id), created_s);
}

}  // namespace spillway
