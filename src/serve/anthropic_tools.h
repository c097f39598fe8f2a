// SPDX-License-Identifier: MIT
// Tools of a request in Anthropic's protocol: the client's own, and those whose schema is Anthropic's. Private to
// anthropic.cpp. Pure.
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "serve/call.h"
#include "serve/json_input.h"
#include "serve/toolbox.h"

namespace spillway {

// nullopt: their service would run it, and nobody does here.
//   InvalidArgument   no name or schema; one that needs eyes, or a server of tools
Result<std::optional<Tool>> anthropic_tool(const Json& tool, const std::string& place);

// "tools" into the box. Those that nobody runs here are noted in call.not_applied; where one of them is a search, what
// would have been searched for is listed at once.
Result<void> read_anthropic_tools(const Json& json, Toolbox& tools, Call& call);

// "tool_choice", once all tools are known.
Result<void> read_anthropic_choice(const Json& json, Toolbox& tools, Call& call);

}  // namespace spillway
