// SPDX-License-Identifier: MIT
// JSON is put together as text, and the JSON that clients sent stays as they wrote it: a parser would lose the order of
// keys or the spelling of numbers, and prompts that differ in a byte share no cache.
#include "chat/conversation_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/hash.h"
#include "chat/call_writer.h"
#include "chat/conversation.h"
#include "chat/json_text.h"

namespace spillway {
namespace {

using nlohmann::json;

Result<void> check_object(const std::string& text, const std::string& what) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{' && json::accept(text)) return {};
  return error(Code::kInvalidArgument, fmt::format("{} must be a JSON object", what));
}

std::string date_text(std::time_t now) {
  std::tm local{};
  localtime_r(&now, &local);
  return fmt::format("{:04}-{:02}-{:02}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday);
}

// Nine letters and digits that stand for `id`, the same each time: itself where it is such.
std::string short_id(const std::string& id) {
  const auto is_plain = [](unsigned char c) { return std::isalnum(c) != 0; };
  if (id.size() == 9 && std::all_of(id.begin(), id.end(), is_plain)) return id;
  Fnv1a hash;
  hash.add(id.data(), id.size());
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string digits;
  for (uint64_t rest = hash.value(); digits.size() < 9; rest /= kDigits.size())
    digits += kDigits[rest % kDigits.size()];
  return digits;
}

// Calls that are not answered yet. A client may send 100,000 of them with as many answers, so none is searched for
// among all; and it chooses the ids, which could be such as collide where they are hashed.
class UnansweredCalls {
 public:
  // `id`: the call's own, which may be empty; `counted`: the one that the template is told.
  void add(const std::string& id, std::string counted) {
    if (!id.empty()) of_id_[id].calls.push_back(counted_.size());
    all_.calls.push_back(counted_.size());
    counted_.emplace_back(std::move(counted));
  }

  // The counted id of the first one with this id; of the first at all where that is empty.
  std::optional<std::string> take(const std::string& id) {
    if (id.empty()) return take_first(all_);
    const auto found = of_id_.find(id);
    return found == of_id_.end() ? std::nullopt : take_first(found->second);
  }

 private:
  struct Waiting {
    std::vector<size_t> calls;  // in `counted_`
    size_t next = 0;
  };

  std::optional<std::string> take_first(Waiting& waiting) {
    while (waiting.next < waiting.calls.size())
      if (auto& call = counted_[waiting.calls[waiting.next++]]) return std::exchange(call, std::nullopt);
    return std::nullopt;
  }

  std::vector<std::optional<std::string>> counted_;  // none: it was taken
  Waiting all_;
  std::map<std::string, Waiting> of_id_;
};

class MessageWriter {
 public:
  explicit MessageWriter(const TemplateHabits& habits) : habits_(habits) {}

  Result<std::string> write(const Message& message) {
    std::string content = message.content, thinking = message.thinking;
    const bool as_content = habits_.calls_in_content && !message.tool_calls.empty();
    if (as_content) content += (content.empty() ? "" : "\n") + call_text(*habits_.calls_in_content, message.tool_calls);
    if (habits_.thinks_before_calls && !message.tool_calls.empty() && !thinking.empty()) {
      if (!content.empty()) thinking += "\n" + content;
      content.clear();
    }
    std::string out = fmt::format("{{\"role\":{},\"content\":{}", json_string(message.role),
                                  content_json(content, !message.tool_calls.empty()));
    // Three names for the same: Qwen, DeepSeek and GLM read the first, gpt-oss the second, others the third.
    if (!thinking.empty())
      for (const char* name : {"reasoning_content", "thinking", "reasoning"})
        out += fmt::format(",\"{}\":{}", name, json_string(thinking));
    if (!message.tool_calls.empty() && !as_content) {
      ASSIGN_OR_RETURN(const std::string calls, calls_json(message.tool_calls));
      out += ",\"tool_calls\":" + calls;
    }
    if (!message.tool_name.empty()) out += ",\"name\":" + json_string(message.tool_name);
    const std::string answers = message.role == "tool" ? answered_id(message.tool_call_id) : message.tool_call_id;
    if (!answers.empty()) out += ",\"tool_call_id\":" + json_string(answers);
    return out + "}";
  }

 private:
  std::string content_json(const std::string& content, bool calls) const {
    if (calls && content.empty() && habits_.null_content_of_calls) return "null";
    if (!habits_.typed_content) return json_string(content);
    return fmt::format("[{{\"type\":\"text\",\"text\":{}}}]", json_string(content));
  }

  Result<std::string> calls_json(const std::vector<ToolCall>& calls) {
    std::string out = "[";
    for (const ToolCall& call : calls) {
      RETURN_IF_ERROR(check_object(call.arguments, fmt::format("the arguments of the call of {}", call.name)));
      if (out.size() > 1) out += ",";
      out += "{";
      if (const std::string id = call_id(call); !id.empty()) out += fmt::format("\"id\":{},", json_string(id));
      out +=
          fmt::format("\"type\":\"function\",\"function\":{{\"name\":{},\"arguments\":{}}}}}", json_string(call.name),
                      habits_.arguments_as_text ? json_string(call.arguments) : call.arguments);
    }
    return out + "]";
  }

  std::string call_id(const ToolCall& call) {
    if (!habits_.counted_call_ids) return habits_.short_call_ids && !call.id.empty() ? short_id(call.id) : call.id;
    std::string id = fmt::format("functions.{}:{}", call.name, n_calls_++);
    unanswered_.add(call.id, id);
    return id;
  }
  // What the template was told to be the id of the call that is answered.
  std::string answered_id(const std::string& id) {
    if (!habits_.counted_call_ids) return habits_.short_call_ids && !id.empty() ? short_id(id) : id;
    return unanswered_.take(id).value_or(id);
  }

  const TemplateHabits& habits_;
  size_t n_calls_ = 0;
  UnansweredCalls unanswered_;
};

Result<std::string> messages_json(std::span<const Message> messages, const TemplateHabits& habits) {
  MessageWriter writer(habits);
  std::string out = "[";
  for (const Message& message : arranged(messages, habits)) {
    ASSIGN_OR_RETURN(const std::string text, writer.write(message));
    if (out.size() > 1) out += ",";
    out += text;
  }
  return out + "]";
}

// None at all is null: many templates ask `if tools`, some `if tools is not none`.
constexpr const char* kNoTools = "null";

Result<std::string> tools_json(std::span<const Tool> tools) {
  std::string out = "[";
  for (const Tool& tool : tools) {
    if (!tool.in_prompt) continue;
    RETURN_IF_ERROR(check_object(tool.parameters, fmt::format("the parameters of the tool {}", tool.name)));
    if (out.size() > 1) out += ",";
    out += tool_json(tool);
  }
  return out.size() == 1 ? kNoTools : out + "]";
}

}  // namespace

std::string tool_json(const Tool& tool) {
  return fmt::format("{{\"type\":\"function\",\"function\":{{\"name\":{},\"description\":{},\"parameters\":{}}}}}",
                     json_string(tool.name), json_string(tool.description), tool.parameters);
}

Result<std::string> template_variables(std::span<const Message> messages, std::span<const Tool> tools,
                                       const PromptOptions& options, const TemplateHabits& habits,
                                       const SpecialTokens& tokens) {
  ASSIGN_OR_RETURN(const std::string messages_text, messages_json(messages, habits));
  ASSIGN_OR_RETURN(const std::string tools_text, tools_json(tools));
  std::string out = fmt::format(
      "{{\"messages\":{},\"tools\":{},\"documents\":null,\"add_generation_prompt\":{},\"bos_token\":{},\"eos_token\":{"
      "}",
      messages_text, tools_text, options.add_generation_prompt, json_string(tokens.bos), json_string(tokens.eos));
  if (options.think) out += fmt::format(",\"enable_thinking\":{0},\"thinking\":{0}", *options.think);
  if (habits.tools_as_text)
    out += fmt::format(",\"functions\":{},\"datetime\":{}", json_string(tools_text == kNoTools ? "[]" : tools_text),
                       json_string(date_text(options.now.value_or(std::time(nullptr)))));
  if (!options.reasoning_effort.empty()) out += ",\"reasoning_effort\":" + json_string(options.reasoning_effort);
  RETURN_IF_ERROR(check_object(options.variables, "the variables of the chat template"));
  const std::string& own = options.variables;
  const size_t begin = own.find('{') + 1;
  const std::string inner = own.substr(begin, own.rfind('}') - begin);
  if (inner.find_first_not_of(" \t\r\n") != std::string::npos) out += "," + inner;  // later keys win
  return out + "}";
}

}  // namespace spillway
