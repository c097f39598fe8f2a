// SPDX-License-Identifier: MIT
// The items of /v1/responses: what "input" holds, and what a call of a tool is handed back as. Private to it. Pure.
#pragma once

#include <string>

#include "base/status.h"
#include "serve/call.h"
#include "serve/json_input.h"
#include "serve/toolbox.h"

namespace spillway {

// Adds to call.messages, and to the tools those that the conversation adds. What a service's own tools did
// becomes text.
//   InvalidArgument   an item of an unknown type, or one that refers to what is stored nowhere
Result<void> read_response_items(const Json& items, Toolbox& tools, Call& call);

// A call as the client knows it: function_call, custom_tool_call, local_shell_call, …
Json item_of_call(const Call& call, const ToolCall& tool_call, const std::string& item_id, const char* status);

// "fc", "ctc", …: what the id of such an item begins with.
const char* item_prefix(const Call& call, const ToolCall& tool_call);

}  // namespace spillway
