// SPDX-License-Identifier: MIT
// Writes calls as a model writes them. Pure.
#pragma once

#include <span>
#include <string>

#include "chat/call_syntax.h"
#include "chat/message.h"

namespace spillway {

// Arguments that are no JSON object are written as they are.
std::string call_text(const CallSyntax& syntax, std::span<const ToolCall> calls);

}  // namespace spillway
