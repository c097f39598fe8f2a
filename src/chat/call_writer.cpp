// SPDX-License-Identifier: MIT
#include "chat/call_writer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "chat/json_text.h"
#include "chat/pattern_reader.h"
#include "chat/value_grammar.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// With a space behind each comma and colon, or without. Not inside of strings, which dump() never breaks.
std::string json_with_spaces(const std::string& text) {
  std::string out;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (quoted && text[i] == '\\')
      out += text[++i];
    else if (text[i] == '"')
      quoted = !quoted;
    else if (!quoted && (text[i] == ',' || text[i] == ':'))
      out += ' ';
  }
  return out;
}

std::string arguments_text(const ArgumentSyntax& syntax, const std::string& json) {
  const Json value = nests_deeper(json) ? Json() : json_or_null(json);
  if (!value.is_object()) return json;
  if (syntax.is_json) {
    std::string text = write_json(value);
    return syntax.spaced ? json_with_spaces(text) : text;
  }
  const MarkedItems& items = syntax.items;
  if (value.empty()) return items.empty;
  std::string out = items.begin;
  bool first = true;
  for (const auto& [key, one] : value.items()) {
    if (!std::exchange(first, false)) out += items.between;
    const std::string text = value_text(one, syntax.values);
    out += with_placeholder(items.key, placeholder::kKey, key);
    out += one.is_string() ? text : syntax.values.other_open + text + syntax.values.other_close;
    out += with_placeholder(items.value_end, placeholder::kKey, key);
  }
  return out + items.end;
}

}  // namespace

std::string call_text(const CallSyntax& syntax, std::span<const ToolCall> calls) {
  std::string out = syntax.begin;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (i > 0) out += syntax.between.value_or("\n");
    for (const char c : syntax.call_begin + syntax.call + syntax.call_end) {
      if (c == placeholder::kName)
        out += calls[i].name;
      else if (c == placeholder::kArguments)
        out += arguments_text(syntax.arguments, calls[i].arguments);
      else if (c == placeholder::kId)
        out += calls[i].id;
      else if (c == placeholder::kIndex)
        out += std::to_string(i);
      else
        out += c;
    }
  }
  return out + syntax.end;
}

}  // namespace spillway
