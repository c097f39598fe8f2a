// SPDX-License-Identifier: MIT
// Finds out what a chat template can do and how it wants its variables, by rendering short conversations and looking
// for what was said in them. Templates are programs: reading their text for words would often be wrong.
#pragma once

#include <string>
#include <vector>

#include "chat/template.h"
#include "chat/template_habits.h"
#include "chat/template_program.h"

namespace spillway {

struct ProbedTemplate {
  TemplateTraits traits;
  TemplateHabits habits;
};

//   OutOfBudget   the template met a limit on a short conversation, or all of them took more than `seconds_max` of
//                 computing, not of waiting
//   Busy          the system has no process for it now
Result<ProbedTemplate> probe_template(const TemplateProgram& program, const std::string& text,
                                      const std::vector<std::string>& end_tokens, double seconds_max);

}  // namespace spillway
