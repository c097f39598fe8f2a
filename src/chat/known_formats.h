// SPDX-License-Identifier: MIT
// Formats that are known by a mark in the template's text, for templates that show tools and then leave it to the model
// how it calls one, or that speak of thoughts and never show one. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "chat/output_format.h"

namespace spillway {

// nullopt: no mark that is known.
std::optional<CallSyntax> known_call_syntax(std::string_view template_text);

// Around thoughts; empty: none that are known.
struct ThoughtMarks {
  std::string begin, end;
};
ThoughtMarks known_thought_marks(std::string_view template_text);

// gpt-oss, whose messages have channels.
bool is_harmony(std::string_view template_text);

// {"name": NAME, "arguments": ARGUMENTS}, alone: what templates ask for that name no mark.
CallSyntax plain_json_calls(std::string_view arguments_key);

}  // namespace spillway
