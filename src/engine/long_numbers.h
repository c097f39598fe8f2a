// SPDX-License-Identifier: MIT
// Long numbers that a tokenizer would take too long for, in a call that nothing stops. SuperBPE's pattern looks ahead
// from a digit to the end of its number, so its time grows with the square of a number's length: 17 s for 300,000
// digits. Pure.
#pragma once

#include <string_view>

#include "base/status.h"

namespace spillway {

// By the name that a GGUF file has under `tokenizer.ggml.pre`.
bool takes_long_for_numbers(std::string_view pre_tokenizer);

// What such a tokenizer gets through in about two seconds.
//   InvalidArgument   more: the message names the longest number
Result<void> check_numbers(std::string_view text);

}  // namespace spillway
