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
//   OutOfBudget   it would make more than `bytes_max` of text
Result<GoValue> call_go_function(const std::string& name, std::span<const GoValue> arguments, std::time_t now,
                                 uint64_t bytes_max);

}  // namespace spillway
