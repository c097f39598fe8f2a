// SPDX-License-Identifier: MIT
// Templates agree on most of what they read. In the rest each has its habits, which template_probe finds out. Pure
// values.
#pragma once

#include <optional>

#include "chat/call_syntax.h"

namespace spillway {

struct TemplateHabits {
  // Of conversations; see conversation.h.
  bool system_role = true;     // false: what the system says goes in front of the first user message
  bool developer_role = true;  // false: a developer's message is the system's
  bool late_system = true;     // false: all that the system and developers say is one message, the first
  bool role_twice = true;      // false: neighbours of one role are one message
  bool several_calls = true;   // false: each call is a message of its own, with its answer behind it
  // Of messages; see conversation_json.h.
  bool typed_content = false;          // content is a list of {"type": "text", "text": …}
  bool arguments_as_text = false;      // of calls: JSON text where others take an object
  bool null_content_of_calls = false;  // a message that calls and says nothing has content none, not ""
  bool short_call_ids = false;         // nine letters and digits, or the template refuses
  bool counted_call_ids = false;       // functions.NAME:INDEX, which is all that is shown of a name
  bool thinks_before_calls = false;    // a message that calls has thinking or content, not both (gpt-oss)
  bool tools_as_text = false;          // in a variable "functions", beside the date (firefunction)
  // Calls are not shown: what the model wrote of them is part of its content.
  std::optional<CallSyntax> calls_in_content = {};
};

}  // namespace spillway
