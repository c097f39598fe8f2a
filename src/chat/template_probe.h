// SPDX-License-Identifier: MIT
// Finds out what a chat template can do and how it wants its variables, by rendering short conversations and looking
// for what was said in them. Templates are programs: reading their text for words would often be wrong.
#pragma once

#include <string>
#include <vector>

#include "chat/conversation_json.h"
#include "chat/jinja.h"
#include "chat/template.h"
#include "chat/template_habits.h"

namespace spillway {

struct TemplateTokens {
  SpecialTokens special;
  std::vector<std::string> ends;  // TemplateOptions::end_tokens
};

struct ProbedTemplate {
  TemplateTraits traits;
  TemplateHabits habits;
};

//   OutOfBudget   the template met a limit on a conversation of two messages
Result<ProbedTemplate> probe_template(Jinja& jinja, const std::string& text, const TemplateTokens& tokens);

}  // namespace spillway
