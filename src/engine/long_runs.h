// SPDX-License-Identifier: MIT
// Runs of digits or of blanks that a tokenizer would take too long for, in a call that nothing stops. Two of libllama's
// patterns look ahead from within a run to its end, so that their time grows with the square of its length: SuperBPE's
// took 2.2 s for a number of 10,000 digits and 8.8 s for 20,000, Jais 2's 2.6 s for 200,000 spaces. Of 47 others that
// were tried with runs of letters, digits, blanks and marks, none took more than a second. Pure.
#pragma once

#include <string_view>

#include "base/status.h"

namespace spillway {

enum class LongRuns { kHarmless, kDigits, kBlanks };

// Which of them take long, by the name that a GGUF file has under `tokenizer.ggml.pre`.
LongRuns slow_runs_of(std::string_view pre_tokenizer);

// What such a tokenizer gets through in about two seconds.
//   InvalidArgument   more: the message names the longest run
Result<void> check_runs(std::string_view text, LongRuns slow);

}  // namespace spillway
