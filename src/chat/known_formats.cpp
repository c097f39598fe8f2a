// SPDX-License-Identifier: MIT
#include "chat/known_formats.h"

#include <array>
#include <string>
#include <vector>

#include "chat/mark_text.h"

namespace spillway {
namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// {"name": "NAME", "arguments": ARGUMENTS}
Pattern json_call(std::string_view arguments_key) {
  return std::string(R"({"name": ")") + placeholder::kName + R"(", ")" + std::string(arguments_key) +
         "\": " + placeholder::kArguments + "}";
}

CallSyntax json_calls(const std::string& begin, const std::string& end, std::string_view arguments_key = "arguments") {
  CallSyntax syntax;
  syntax.call_begin = begin;
  syntax.call = json_call(arguments_key);
  syntax.call_end = end;
  syntax.between = "\n";
  syntax.call_is_json = true;
  syntax.behind_text = true;
  return syntax;
}

CallSyntax json_list(const std::string& begin, const std::string& end, std::string_view arguments_key = "arguments") {
  CallSyntax syntax = json_calls("", "", arguments_key);
  syntax.begin = begin + "[";
  syntax.between = ", ";
  syntax.end = "]" + end;
  return syntax;
}

// <tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n</tool_call>
CallSyntax function_calls() {
  CallSyntax syntax;
  syntax.call_begin = "<tool_call>\n<function=";
  syntax.call = std::string(1, placeholder::kName) + ">\n" + placeholder::kArguments;
  syntax.call_end = "</function>\n</tool_call>";
  syntax.between = "\n";
  syntax.behind_text = true;
  syntax.arguments.is_json = false;
  syntax.arguments.items.key = std::string("<parameter=") + placeholder::kKey + ">\n";
  syntax.arguments.items.value_end = "\n</parameter>\n";
  return syntax;
}

// BEGIN[NAME(KEY="VALUE", KEY=1), …]END
CallSyntax python_calls(const std::string& begin, const std::string& end) {
  CallSyntax syntax;
  syntax.begin = begin + "[";
  syntax.call = std::string(1, placeholder::kName) + "(" + placeholder::kArguments;
  syntax.call_end = ")";
  syntax.between = ", ";
  syntax.end = "]" + end;
  syntax.behind_text = !begin.empty();
  syntax.arguments.is_json = false;
  syntax.arguments.items.key = std::string(1, placeholder::kKey) + "=";
  syntax.arguments.items.between = ", ";
  ValueSyntax& values = syntax.arguments.values;
  values.text_open = values.text_close = "\"";
  values.text = ValueSyntax::Text::kPython;
  values.nested = ValueSyntax::Nested::kPython;
  values.true_word = "True";
  values.false_word = "False";
  values.null_word = "None";
  return syntax;
}

CallSyntax deepseek_calls(bool fenced) {
  CallSyntax syntax;
  syntax.begin = "<｜tool▁calls▁begin｜>";
  syntax.call_begin = std::string("<｜tool▁call▁begin｜>") + (fenced ? "function<｜tool▁sep｜>" : "");
  syntax.call =
      std::string(1, placeholder::kName) + (fenced ? "\n```json\n" : "<｜tool▁sep｜>") + placeholder::kArguments;
  syntax.call_end = std::string(fenced ? "\n```" : "") + "<｜tool▁call▁end｜>";
  syntax.between = fenced ? "\n" : "";
  syntax.end = "<｜tool▁calls▁end｜>";
  syntax.behind_text = true;
  return syntax;
}

}  // namespace

CallSyntax plain_json_calls(std::string_view arguments_key) {
  CallSyntax syntax = json_calls("", "", arguments_key);
  syntax.between.reset();
  syntax.behind_text = false;
  return syntax;
}

// From the most to the least telling mark.
std::optional<CallSyntax> known_call_syntax(std::string_view text) {
  const std::string_view key =
      has(text, "\"parameters\": ") && !has(text, "\"arguments\"") ? "parameters" : "arguments";
  if (has(text, "<｜tool▁call▁begin｜>")) return deepseek_calls(has(text, "```json"));
  if (has(text, "[TOOL_CALLS]")) return json_list("[TOOL_CALLS]", "");
  if (has(text, "<|tool_call_start|>") || has(text, "<|tool_list_start|>") || has(text, "List of tools: ["))
    return python_calls("<|tool_call_start|>", "<|tool_call_end|>");
  if (has(text, "<function=") && has(text, "<parameter=")) return function_calls();
  if (has(text, "<|tool_call|>"))
    return json_list("<|tool_call|>", has(text, "<|/tool_call|>") ? "<|/tool_call|>" : "");
  // Marks of one spelling or another around the JSON of one call, or of a list of them.
  for (const char* name : {"tool_call", "toolcall", "TOOLCALL", "function_call", "functioncall", "tool_use"}) {
    const std::string begin = std::string("<") + name + ">", end = std::string("</") + name + ">";
    if (!has(text, begin)) continue;
    const bool listed = has(text, begin + "[") || has(text, begin + " [");
    return listed ? json_list(begin, end, key) : json_calls(begin + "\n", "\n" + end, key);
  }
  if (has(text, "<tool_calls>")) return json_list("<tool_calls>", "</tool_calls>", key);
  if (has(text, "functools[")) return json_list("functools", "");
  if (has(text, "<|python_tag|>") || has(text, "<|start_header_id|>")) {
    CallSyntax syntax = plain_json_calls("parameters");
    syntax.also_begins = "<|python_tag|>";
    return syntax;
  }
  for (const char* begin : {"{\"name\":", "{\\\"name\\\":", "{'name':"})
    if (has(text, begin) && (has(text, "arguments") || has(text, "parameters")))
      return plain_json_calls(has(text, "arguments") ? "arguments" : "parameters");
  return std::nullopt;
}

ThoughtMarks known_thought_marks(std::string_view text) {
  static const std::vector<ThoughtMarks> kMarks = {{"<think>", "</think>"},
                                                   {"[THINK]", "[/THINK]"},
                                                   {"<|START_THINKING|>", "<|END_THINKING|>"},
                                                   {"<seed:think>", "</seed:think>"},
                                                   {"<|inner_prefix|>", "<|inner_suffix|>"},
                                                   {"<|begin_of_thought|>", "<|end_of_thought|>"},
                                                   {"<|think_start|>", "<|think_end|>"}};
  for (const ThoughtMarks& marks : kMarks)
    if (has(text, marks.end)) return marks;
  // </thinking>, </reasoning> and the like, with or without a name in front. A template may be megabytes of them.
  constexpr size_t kMarkBytesMax = 41, kNamesMax = 100;
  size_t n_names = 0;
  for (size_t at = text.find("</"); at != std::string_view::npos; at = text.find("</", at + 1)) {
    const size_t size = text.substr(at, kMarkBytesMax).find('>');
    if (size == std::string_view::npos) continue;
    const size_t end = at + size;
    const std::string_view name = text.substr(at + 2, end - at - 2);
    if (name.find_first_of(" \n\t'\"{}") != std::string_view::npos) continue;
    if (!has(name, "think") && !has(name, "thought") && !has(name, "reasoning")) continue;
    if (++n_names > kNamesMax) break;
    const std::string begin = "<" + std::string(name) + ">";
    if (has(text, begin)) return {begin, std::string(text.substr(at, end + 1 - at))};
  }
  return {};
}

bool is_harmony(std::string_view text) { return has(text, "<|channel|>") && has(text, "<|message|>"); }

}  // namespace spillway
