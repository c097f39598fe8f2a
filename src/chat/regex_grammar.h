// SPDX-License-Identifier: MIT
// Regular expressions, as JSON schemas use them, as grammars for what stands between the quotes of a JSON string. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

// Text that matches; without ^ or $ more may stand there. Letters, classes, \d \w \s, groups, alternatives, * + ?
// {m,n}; characters are code points. The grammar admits nothing that does not match.
//   InvalidArgument   not a regular expression
//   Unsupported       look-around, back references, \b, \p{}, ^ and $ within, halves of surrogate pairs, what matches
//                     nothing: no grammar of ours expresses them
Result<std::string> grammar_of_regex(std::string_view pattern);

}  // namespace spillway
