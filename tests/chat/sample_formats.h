// SPDX-License-Identifier: MIT
// Formats of every kind that a description can say, for tests that need no template.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/known_formats.h"
#include "chat/output_format.h"

namespace spillway {

inline OutputFormat known_format(std::string_view template_text) { return {.calls = known_call_syntax(template_text)}; }

// <tool_call>NAME\n<arg_key>KEY</arg_key>\n<arg_value>VALUE</arg_value>\n</tool_call>
inline OutputFormat glm_format() {
  CallSyntax syntax;
  syntax.call_begin = "<tool_call>";
  syntax.call = std::string(1, placeholder::kName) + "\n" + placeholder::kArguments;
  syntax.call_end = "</tool_call>";
  syntax.between = "\n";
  syntax.behind_text = true;
  syntax.arguments.is_json = false;
  syntax.arguments.items.key = std::string("<arg_key>") + placeholder::kKey + "</arg_key>\n<arg_value>";
  syntax.arguments.items.value_end = "</arg_value>\n";
  return {.calls = syntax};
}

// <|tool_call>call:NAME{KEY:<|"|>VALUE<|"|>,KEY:1}<tool_call|>
inline OutputFormat gemma_format() {
  CallSyntax syntax;
  syntax.call_begin = "<|tool_call>call:";
  syntax.call = std::string(1, placeholder::kName) + "{" + placeholder::kArguments;
  syntax.call_end = "}<tool_call|>";
  syntax.between = "";
  syntax.behind_text = true;
  syntax.arguments.is_json = false;
  syntax.arguments.items.key = std::string(1, placeholder::kKey) + ":";
  syntax.arguments.items.between = ",";
  ValueSyntax& values = syntax.arguments.values;
  values.text_open = values.text_close = "<|\"|>";
  values.nested = ValueSyntax::Nested::kMarked;
  values.object = {
      .empty = "{}", .begin = "{", .between = ",", .end = "}", .key = std::string(1, placeholder::kKey) + ":"};
  values.list = {.empty = "[]", .begin = "[", .between = ",", .end = "]"};
  return {.calls = syntax};
}

// <calls>\n<invoke name="NAME">\n<parameter name="KEY" string="true">VALUE</parameter>\n</invoke>\n</calls>
inline OutputFormat typed_format() {
  CallSyntax syntax;
  syntax.begin = "<calls>\n";
  syntax.call_begin = "<invoke name=\"";
  syntax.call = std::string(1, placeholder::kName) + "\">\n" + placeholder::kArguments;
  syntax.call_end = "</invoke>\n";
  syntax.between = "";
  syntax.end = "</calls>";
  syntax.behind_text = true;
  syntax.arguments.is_json = false;
  syntax.arguments.items.key = std::string("<parameter name=\"") + placeholder::kKey + "\" string=\"";
  syntax.arguments.items.value_end = "</parameter>\n";
  syntax.arguments.values.text_open = "true\">";
  syntax.arguments.values.other_open = "false\">";
  return {.calls = syntax};
}

// <NAME><KEY>VALUE</KEY></NAME>, objects and lists in the same way
inline OutputFormat nested_format() {
  CallSyntax syntax;
  syntax.begin = "<do>";
  syntax.call_begin = "<tool:";
  syntax.call = std::string(1, placeholder::kName) + ">" + placeholder::kArguments;
  syntax.call_end = std::string("</tool:") + placeholder::kName + ">";
  syntax.between = "";
  syntax.end = "</do>";
  syntax.arguments.is_json = false;
  const std::string open = std::string("<") + placeholder::kKey + ">",
                    close = std::string("</") + placeholder::kKey + ">";
  syntax.arguments.items = {.key = open, .value_end = close};
  syntax.arguments.values.nested = ValueSyntax::Nested::kMarked;
  syntax.arguments.values.object = {.key = open, .value_end = close};
  syntax.arguments.values.list = {.key = "<item>", .value_end = "</item>"};
  return {.calls = syntax};
}

// [TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{…}
inline OutputFormat id_format() {
  CallSyntax syntax;
  syntax.call_begin = "[TOOL_CALLS]";
  syntax.call =
      std::string(1, placeholder::kName) + "[CALL_ID]" + placeholder::kId + "[ARGS]" + placeholder::kArguments;
  syntax.between = "";
  syntax.behind_text = true;
  return {.calls = syntax};
}

// >>>NAME\n{…}, and >>>all\n in front of text; the prompt ends with the first >>>
inline OutputFormat recipient_format() {
  CallSyntax syntax;
  syntax.call = std::string(1, placeholder::kName) + "\n" + placeholder::kArguments;
  syntax.between = ">>>";
  syntax.behind_text = true;
  return {.calls = syntax, .text_begin = "all\n", .text_ends = {">>>"}};
}

inline std::vector<std::pair<std::string, OutputFormat>> sample_formats() {
  return {{"none", {}},
          {"json", {.calls = plain_json_calls("arguments")}},
          {"hermes", known_format("<tool_call>")},
          {"function", known_format("<function= <parameter=")},
          {"llama3", known_format("<|python_tag|>")},
          {"mistral", known_format("[TOOL_CALLS]")},
          {"deepseek fenced", known_format("<｜tool▁call▁begin｜> ```json")},
          {"deepseek", known_format("<｜tool▁call▁begin｜>")},
          {"lfm2", known_format("<|tool_call_start|>")},
          {"granite", known_format("<|tool_call|>")},
          {"functools", known_format("functools[")},
          {"glm", glm_format()},
          {"gemma", gemma_format()},
          {"typed", typed_format()},
          {"nested", nested_format()},
          {"ids", id_format()},
          {"recipient", recipient_format()},
          {"harmony", {.harmony = true}}};
}

inline OutputFormat sample_format(std::string_view name) {
  for (const auto& [known, format] : sample_formats())
    if (known == name) return format;
  return {};
}

}  // namespace spillway
