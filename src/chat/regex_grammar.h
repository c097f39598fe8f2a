// SPDX-License-Identifier: MIT
// Regular expressions, as JSON schemas use them, as grammars for what stands between the quotes of a JSON string. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

// Text that matches; without ^ or $ more may stand there. Letters, classes, \d \w \s, groups, alternatives, * + ?
// {m,n}.
//   InvalidArgument   not a regular expression
//   Unsupported       look-around, back references, \b, ^ and $ within: no grammar can express them
Result<std::string> grammar_of_regex(std::string_view pattern);

}  // namespace spillway
