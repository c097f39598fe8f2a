// SPDX-License-Identifier: MIT
// The functions that Go templates call: text/template's own, and those that Ollama adds. Pure.
#pragma once

#include <ctime>
#include <span>
#include <string>

#include "base/status.h"
#include "chat/go_value.h"

namespace spillway {

// `and` and `or` are not among them: they do not need all their arguments.
//   Unsupported   arguments that it does not take
Result<GoValue> call_go_function(const std::string& name, std::span<const GoValue> arguments, std::time_t now);

}  // namespace spillway
