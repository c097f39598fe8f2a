// SPDX-License-Identifier: MIT
// A conversation as the values that Ollama hands to Go templates. Pure.
#pragma once

#include <span>

#include "base/status.h"
#include "chat/go_value.h"
#include "chat/message.h"

namespace spillway {

//   InvalidArgument   arguments or parameters that are no JSON object
Result<GoValue> go_messages(std::span<const Message> messages);
// Those that prompts list.
Result<GoValue> go_tools(std::span<const Tool> tools);

}  // namespace spillway
