// SPDX-License-Identifier: MIT
// Text to standard error, for what is neither a notice nor an error: prompts of a chat, bars, reports.
#pragma once

#include <string_view>

namespace spillway {

// Writes it at once. False where standard error takes nothing: its disk is full, or its terminal was closed while a
// download goes on. As a rule that is no reason to stop, so nothing is thrown, in destructors neither.
bool print_to_stderr(std::string_view text);

}  // namespace spillway
