// SPDX-License-Identifier: MIT
// The tools of OpenAI's protocols. The model knows one kind of them, functions with JSON arguments; clients know more:
// functions in a namespace, tools that take one text, shells and patches. Each is offered to the model as a function,
// and what it calls is handed back in the form that the client knows it by.
//
// Private to OpenAI's endpoints. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "serve/call.h"
#include "serve/json_input.h"
#include "serve/toolbox.h"

namespace spillway {

// What the model knows a client's tool by.
std::string flat_name(const std::string& name_space, const std::string& name);

// A list of tools into the box; `waits`: it is not for the prompt's list, but for a place in the conversation. Returns
// the names of those that are there now. Tools that their service would run are noted in call.not_applied.
//   InvalidArgument   not a list of tools; one whose calls nobody could answer (mcp, computer)
Result<std::vector<std::string>> add_openai_tools(const Json& list, bool waits, Toolbox& tools, Call& call);

// "tool_choice" and "parallel_tool_calls", once all tools are known.
Result<void> read_openai_choice(const Json& json, Toolbox& tools, Call& call);

// The one text that a call of a custom tool holds; and the other way round.
std::string input_of_custom_call(const ToolCall& call);
std::string arguments_of_custom_call(const std::string& input);

}  // namespace spillway
