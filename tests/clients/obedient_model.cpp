// SPDX-License-Identifier: MIT
#include "clients/obedient_model.h"

#include <algorithm>
#include <charconv>
#include <vector>

namespace spillway {
namespace {

constexpr std::string_view kRoleBegin = "<|", kUser = "<|user|>", kTool = "<|tool|>";
constexpr std::string_view kNoThinking = "<no_thinking>", kPromptEnd = "<assistant>";

struct Turn {
  std::string_view role, text;
};

std::vector<Turn> turns_of(std::string_view prompt) {
  for (const std::string_view end : {kPromptEnd, kNoThinking})
    if (prompt.ends_with(end)) prompt.remove_suffix(end.size());
  std::vector<Turn> turns;
  for (size_t at = prompt.find(kRoleBegin); at != std::string_view::npos;) {
    const size_t bar = prompt.find("|>", at), next = prompt.find(kRoleBegin, at + kRoleBegin.size());
    if (bar == std::string_view::npos) break;
    turns.push_back({prompt.substr(at, bar + 2 - at), prompt.substr(bar + 2, next - std::min(next, bar + 2))});
    at = next;
  }
  return turns;
}

std::string_view between(std::string_view text, std::string_view begin, std::string_view end) {
  const size_t from = text.rfind(begin);
  if (from == std::string_view::npos) return {};
  text.remove_prefix(from + begin.size());
  return text.substr(0, text.find(end));
}

// The JSON object at the beginning of `text`; empty when it does not end.
std::string_view object_at(std::string_view text) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      in_string = !in_string;
    else if (!in_string && text[i] == '{')
      ++depth;
    else if (!in_string && text[i] == '}' && --depth == 0)
      return text.substr(0, i + 1);
  }
  return {};
}

std::string calls_in(std::string_view text) {
  constexpr std::string_view kCall = "CALL ";
  std::string calls;
  for (size_t at = text.find(kCall); at != std::string_view::npos; at = text.find(kCall, at + 1)) {
    const std::string_view rest = text.substr(at + kCall.size());
    const size_t space = rest.find(' ');
    if (space == std::string_view::npos || !rest.substr(space + 1).starts_with('{')) continue;
    const std::string_view arguments = object_at(rest.substr(space + 1));
    if (arguments.empty()) continue;
    calls += "<tool_call>\n{\"name\": \"" + std::string(rest.substr(0, space)) +
             "\", \"arguments\": " + std::string(arguments) + "}\n</tool_call>";
  }
  return calls;
}

std::string count_to(std::string_view number) {
  size_t n = 0;
  std::from_chars(number.data(), number.data() + number.size(), n);
  std::string text;
  for (size_t i = 1; i <= n; ++i) text += std::to_string(i) + (i < n ? " " : "");
  return text;
}

}  // namespace

const char* const kObedientTemplate =
    "{%- if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}"
    "{%- for message in messages %}<|{{ message.role }}|>"
    "{%- if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{%- for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "{{- message.content }}{% endfor %}"
    "{%- if enable_thinking is defined and not enable_thinking %}<no_thinking>{% endif %}"
    "{%- if add_generation_prompt %}<assistant>{% endif %}";

std::string obey(std::string_view prompt) {
  const std::vector<Turn> turns = turns_of(prompt);
  // 1. What tools answered behind the last order, and the order. Agents put messages of their own behind it.
  std::string results;
  std::string_view order;
  for (auto turn = turns.rbegin(); turn != turns.rend() && order.empty(); ++turn) {
    if (turn->role == kTool) results = std::string(turn->text) + (results.empty() ? "" : "; ") + results;
    if (turn->role != kUser) continue;
    for (const std::string_view word : {"CALL ", "COUNT ", "RECALL", "THINK "})
      if (turn->text.find(word) != std::string_view::npos) order = turn->text;
  }
  if (!results.empty()) return "The tool said: " + results;
  if (order.empty() && !turns.empty()) order = turns.back().text;

  // 2. A thought, then what was asked for.
  std::string answer;
  const std::string_view thought = between(order, "THINK \"", "\"");
  if (!thought.empty() && prompt.find(kNoThinking) == std::string_view::npos)
    answer = "<think>" + std::string(thought) + "</think>";
  if (const std::string calls = calls_in(order); !calls.empty()) return answer + calls;
  if (const std::string_view number = between(order, "COUNT ", " "); !number.empty()) return answer + count_to(number);
  if (order.find("RECALL") != std::string_view::npos)
    return answer + "I thought: " + std::string(between(prompt, "<think>", "</think>"));
  return answer + "Heard: " + std::string(order.substr(0, 400));
}

}  // namespace spillway
