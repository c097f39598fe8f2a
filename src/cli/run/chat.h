// SPDX-License-Identifier: MIT
// The interactive chat: reads messages and commands line by line, prints answers. Ctrl-C stops an answer, not the chat.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/run/conversation.h"
#include "cli/run/run_options.h"

namespace spillway {

// Runs until the user leaves; returns the exit code. A terminal gets prompts and goes on behind errors; a pipe does
// neither. `first_message` is answered before any line is read.
//   errors of Conversation::say, from a pipe; from a terminal only those that no later message can survive
Result<int> run_chat(std::unique_ptr<Engine> engine, const RunOptions& options,
                     const std::optional<std::string>& first_message);

}  // namespace spillway
