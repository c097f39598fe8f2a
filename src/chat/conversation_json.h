// SPDX-License-Identifier: MIT
// A conversation as the variables that chat templates read: messages, tools, and what transformers passes beside them.
// Pure.
#pragma once

#include <span>
#include <string>

#include "base/status.h"
#include "chat/message.h"
#include "chat/template.h"

namespace spillway {

// Templates agree on most of it. In the rest each has its habits, which template_probe finds out.
struct TemplateHabits {
  bool system_role = true;             // false: what the system says goes in front of the first user message
  bool typed_content = false;          // content is a list of {"type": "text", "text": …}
  bool arguments_as_text = false;      // of calls: JSON text where others take an object
  bool null_content_of_calls = false;  // a message that calls and says nothing has content none, not ""
  bool short_call_ids = false;         // nine letters and digits, or the template refuses
  bool thinks_before_calls = false;    // a message that calls has thinking or content, not both (gpt-oss)
};

struct SpecialTokens {
  std::string bos, eos;
};

// JSON text of an object.
//   InvalidArgument   arguments, parameters or variables that are not JSON of an object
Result<std::string> template_variables(std::span<const Message> messages, std::span<const Tool> tools,
                                       const PromptOptions& options, const TemplateHabits& habits,
                                       const SpecialTokens& tokens);

}  // namespace spillway
