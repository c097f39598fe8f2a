// SPDX-License-Identifier: MIT
// Derives how a model marks its answers from what its template makes of conversations: those that differ in one thing
// show how that is written. The template may be of any kind. Pure but for what it renders.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "chat/known_formats.h"
#include "chat/message.h"
#include "chat/output_format.h"
#include "chat/template.h"

namespace spillway {

// What a template makes of a conversation; "" where it refuses it.
using ProbeRenderer =
    std::function<std::string(const std::vector<Message>&, const std::vector<Tool>&, const PromptOptions&)>;

struct FormatProbe {
  ProbeRenderer render;
  // Texts of tokens that end an answer, and so are never part of one. May be empty.
  std::vector<std::string> end_tokens = {};
  ThoughtMarks known_thoughts = {};  // where the template shows none
  bool several_calls = true;         // a message may hold more than one call
};

// The marks of thoughts and text, and calls where they can be told for certain: what the template writes of some calls
// is read back by what was derived.
OutputFormat probe_output_format(const FormatProbe& probe);

}  // namespace spillway
