// SPDX-License-Identifier: MIT
// JSON is put together as text, and the JSON that clients sent stays as they wrote it: a parser would lose the order of
// keys or the spelling of numbers, and prompts that differ in a byte share no cache.
#include "chat/conversation_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/hash.h"

namespace spillway {
namespace {

using nlohmann::json;

// Invalid UTF-8 becomes U+FFFD.
std::string json_text(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<void> check_object(const std::string& text, const std::string& what) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{' && json::accept(text)) return {};
  return error(Code::kInvalidArgument, fmt::format("{} must be a JSON object", what));
}

// Nine letters and digits that stand for `id`, the same each time.
std::string short_id(const std::string& id) {
  Fnv1a hash;
  hash.add(id.data(), id.size());
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string digits;
  for (uint64_t rest = hash.value(); digits.size() < 9; rest /= kDigits.size())
    digits += kDigits[rest % kDigits.size()];
  return digits;
}

class MessageWriter {
 public:
  explicit MessageWriter(const TemplateHabits& habits) : habits_(habits) {}

  Result<std::string> write(const Message& message) const {
    std::string content = message.content, thinking = message.thinking;
    if (habits_.thinks_before_calls && !message.tool_calls.empty() && !thinking.empty()) {
      if (!content.empty()) thinking += "\n" + content;
      content.clear();
    }
    std::string out = fmt::format("{{\"role\":{},\"content\":{}", json_text(message.role),
                                  content_json(content, !message.tool_calls.empty()));
    // Three names for the same: Qwen, DeepSeek and GLM read the first, gpt-oss the second, others the third.
    if (!thinking.empty())
      for (const char* name : {"reasoning_content", "thinking", "reasoning"})
        out += fmt::format(",\"{}\":{}", name, json_text(thinking));
    if (!message.tool_calls.empty()) {
      ASSIGN_OR_RETURN(const std::string calls, calls_json(message.tool_calls));
      out += ",\"tool_calls\":" + calls;
    }
    if (!message.tool_name.empty()) out += ",\"name\":" + json_text(message.tool_name);
    if (!message.tool_call_id.empty()) out += ",\"tool_call_id\":" + json_text(call_id(message.tool_call_id));
    return out + "}";
  }

 private:
  std::string content_json(const std::string& content, bool calls) const {
    if (calls && content.empty() && habits_.null_content_of_calls) return "null";
    if (!habits_.typed_content) return json_text(content);
    return fmt::format("[{{\"type\":\"text\",\"text\":{}}}]", json_text(content));
  }

  Result<std::string> calls_json(const std::vector<ToolCall>& calls) const {
    std::string out = "[";
    for (const ToolCall& call : calls) {
      RETURN_IF_ERROR(check_object(call.arguments, fmt::format("the arguments of the call of {}", call.name)));
      if (out.size() > 1) out += ",";
      out += "{";
      if (!call.id.empty()) out += fmt::format("\"id\":{},", json_text(call_id(call.id)));
      out += fmt::format("\"type\":\"function\",\"function\":{{\"name\":{},\"arguments\":{}}}}}", json_text(call.name),
                         habits_.arguments_as_text ? json_text(call.arguments) : call.arguments);
    }
    return out + "]";
  }

  std::string call_id(const std::string& id) const { return habits_.short_call_ids ? short_id(id) : id; }

  const TemplateHabits& habits_;
};

// Without a system role: what it says, in front of what the first user says.
std::vector<Message> without_system(std::span<const Message> messages) {
  std::string system;
  std::vector<Message> rest;
  for (const Message& message : messages) {
    if (message.role == "system") {
      system += message.content + "\n\n";
      continue;
    }
    rest.push_back(message);
    if (message.role == "user") rest.back().content = std::exchange(system, {}) + message.content;
  }
  if (!system.empty()) rest.push_back({.role = "user", .content = system.substr(0, system.size() - 2)});
  return rest;
}

Result<std::string> messages_json(std::span<const Message> messages, const TemplateHabits& habits) {
  const MessageWriter writer(habits);
  const std::vector<Message> merged = habits.system_role ? std::vector<Message>() : without_system(messages);
  std::string out = "[";
  for (const Message& message : habits.system_role ? messages : std::span<const Message>(merged)) {
    ASSIGN_OR_RETURN(const std::string text, writer.write(message));
    if (out.size() > 1) out += ",";
    out += text;
  }
  return out + "]";
}

// None at all is null: many templates ask `if tools`, some `if tools is not none`.
Result<std::string> tools_json(std::span<const Tool> tools) {
  if (tools.empty()) return "null";
  std::string out = "[";
  for (const Tool& tool : tools) {
    RETURN_IF_ERROR(check_object(tool.parameters, fmt::format("the parameters of the tool {}", tool.name)));
    if (out.size() > 1) out += ",";
    out += fmt::format("{{\"type\":\"function\",\"function\":{{\"name\":{},\"description\":{},\"parameters\":{}}}}}",
                       json_text(tool.name), json_text(tool.description), tool.parameters);
  }
  return out + "]";
}

}  // namespace

Result<std::string> template_variables(std::span<const Message> messages, std::span<const Tool> tools,
                                       const PromptOptions& options, const TemplateHabits& habits,
                                       const SpecialTokens& tokens) {
  ASSIGN_OR_RETURN(const std::string messages_text, messages_json(messages, habits));
  ASSIGN_OR_RETURN(const std::string tools_text, tools_json(tools));
  std::string out = fmt::format(
      "{{\"messages\":{},\"tools\":{},\"documents\":null,\"add_generation_prompt\":{},\"bos_token\":{},\"eos_token\":{"
      "}",
      messages_text, tools_text, options.add_generation_prompt, json_text(tokens.bos), json_text(tokens.eos));
  if (options.think) out += fmt::format(",\"enable_thinking\":{0},\"thinking\":{0}", *options.think);
  if (!options.reasoning_effort.empty()) out += ",\"reasoning_effort\":" + json_text(options.reasoning_effort);
  RETURN_IF_ERROR(check_object(options.variables, "the variables of the chat template"));
  const std::string& own = options.variables;
  const size_t begin = own.find('{') + 1;
  const std::string inner = own.substr(begin, own.rfind('}') - begin);
  if (inner.find_first_not_of(" \t\r\n") != std::string::npos) out += "," + inner;  // later keys win
  return out + "}";
}

}  // namespace spillway
