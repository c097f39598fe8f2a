// SPDX-License-Identifier: MIT
#include "chat/conversation.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "chat/json_text.h"

namespace spillway {
namespace {

constexpr const char* kBreak = "\n\n";

bool instructs(const Message& message) { return message.role == "system" || message.role == "developer"; }

void append(std::string& text, const std::string& more) {
  if (!text.empty() && !more.empty()) text += kBreak;
  text += more;
}

// Without a system role: what it says, in front of what the next user says.
std::vector<Message> without_system(std::vector<Message> messages) {
  std::string system;
  std::vector<Message> rest;
  for (Message& message : messages) {
    if (instructs(message)) {
      append(system, message.content);
      continue;
    }
    if (message.role == "user" && !system.empty()) {
      append(system, message.content);
      message.content = std::exchange(system, {});
    }
    rest.push_back(std::move(message));
  }
  if (!system.empty()) rest.push_back({.role = "user", .content = system});
  return rest;
}

// All instructions as the first message; its role is that of the first of them.
std::vector<Message> instructions_first(std::vector<Message> messages) {
  const auto first = std::find_if(messages.begin(), messages.end(), instructs);
  if (first == messages.end()) return messages;
  Message all{.role = first->role};
  std::vector<Message> rest;
  for (Message& message : messages) {
    if (instructs(message))
      append(all.content, message.content);
    else
      rest.push_back(std::move(message));
  }
  rest.insert(rest.begin(), std::move(all));
  return rest;
}

// The answers behind a message that calls, until they are taken. A client may send 100,000 of both, so none is searched
// for among all; and it chooses the ids, which could be such as collide where they are hashed.
class Answers {
 public:
  explicit Answers(std::vector<Message> messages) : messages_(std::move(messages)), taken_(messages_.size()) {
    for (size_t i = messages_.size(); i-- > 0;) of_call_[messages_[i].tool_call_id].push_back(i);
  }

  // The first that names this call, else the first that names none.
  std::optional<Message> take(const std::string& id) {
    auto found = of_call_.find(id);
    if (found == of_call_.end() || found->second.empty()) found = of_call_.find("");
    if (found == of_call_.end() || found->second.empty()) return std::nullopt;
    const size_t i = found->second.back();
    found->second.pop_back();
    taken_[i] = true;
    return std::move(messages_[i]);
  }

  void move_rest(std::vector<Message>& to) {
    for (size_t i = 0; i < messages_.size(); ++i)
      if (!taken_[i]) to.push_back(std::move(messages_[i]));
  }

 private:
  std::vector<Message> messages_;
  std::vector<bool> taken_;
  std::map<std::string, std::vector<size_t>> of_call_;  // by its id, the first one last
};

// The answers behind a message that calls, each behind its own call. What else the message has may be large, and comes
// with the first call alone.
std::vector<Message> one_call_each(std::vector<Message> messages) {
  std::vector<Message> rest;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].tool_calls.size() < 2) {
      rest.push_back(std::move(messages[i]));
      continue;
    }
    std::vector<Message> behind;
    size_t next = i + 1;
    for (; next < messages.size() && messages[next].role == "tool"; ++next) behind.push_back(std::move(messages[next]));
    Answers answers(std::move(behind));
    Message turn = std::move(messages[i]);
    const std::vector<ToolCall> calls = std::exchange(turn.tool_calls, {});
    for (const ToolCall& call : calls) {
      Message one = std::exchange(turn, Message{.role = turn.role});
      one.tool_calls = {call};
      rest.push_back(std::move(one));
      if (auto answer = answers.take(call.id)) rest.push_back(std::move(*answer));
    }
    answers.move_rest(rest);
    i = next - 1;
  }
  return rest;
}

std::vector<Message> neighbours_merged(std::vector<Message> messages) {
  std::vector<Message> rest;
  for (Message& message : messages) {
    const bool same =
        !rest.empty() && rest.back().role == message.role && message.role != "tool" && rest.back().tool_calls.empty();
    if (!same) {
      rest.push_back(std::move(message));
      continue;
    }
    Message& before = rest.back();
    append(before.content, message.content);
    append(before.thinking, message.thinking);
    before.tool_calls = std::move(message.tool_calls);
    before.images.insert(before.images.end(), message.images.begin(), message.images.end());
  }
  return rest;
}

}  // namespace

std::vector<Message> arranged(std::span<const Message> messages, const TemplateHabits& habits) {
  std::vector<Message> all(messages.begin(), messages.end());
  if (!habits.developer_role)
    for (Message& message : all)
      if (message.role == "developer") message.role = "system";
  if (!habits.system_role)
    all = without_system(std::move(all));
  else if (!habits.late_system)
    all = instructions_first(std::move(all));
  if (!habits.several_calls) all = one_call_each(std::move(all));
  if (!habits.role_twice) all = neighbours_merged(std::move(all));
  return all;
}

std::vector<Tool> with_descriptions(std::span<const Tool> tools) {
  std::vector<Tool> all(tools.begin(), tools.end());
  for (Tool& tool : all) {
    if (!is_json_object(tool.parameters)) continue;
    auto schema = json_or_null(tool.parameters);
    if (!schema.is_object()) continue;
    const auto properties = schema.find("properties");
    if (properties == schema.end() || !properties->is_object()) continue;
    for (auto& [name, one] : properties->items())
      if (one.is_object() && !one.contains("description")) one["description"] = "";
    tool.parameters = write_json(schema);
  }
  return all;
}

}  // namespace spillway
