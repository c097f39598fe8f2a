// SPDX-License-Identifier: MIT
// A conversation as the variables that chat templates read: messages, tools, and what transformers passes beside them.
// Pure.
#pragma once

#include <span>
#include <string>

#include "base/status.h"
#include "chat/message.h"
#include "chat/template.h"
#include "chat/template_habits.h"

namespace spillway {

struct SpecialTokens {
  std::string bos, eos;
};

// A tool as templates list it, on one line: {"type":"function","function":{…}}. Its parameters must be JSON.
std::string tool_json(const Tool& tool);

// JSON text of an object.
//   InvalidArgument   arguments, parameters or variables that are not JSON of an object
Result<std::string> template_variables(std::span<const Message> messages, std::span<const Tool> tools,
                                       const PromptOptions& options, const TemplateHabits& habits,
                                       const SpecialTokens& tokens);

}  // namespace spillway
