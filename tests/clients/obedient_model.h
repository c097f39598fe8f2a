// SPDX-License-Identifier: MIT
// A model that does what the conversation tells it to, so that a client's part of a conversation can be checked by what
// comes back. The user writes one of
//
//   CALL name {"json": "arguments"}   it calls the tool; several in one message are several calls
//   COUNT n                           1 2 3 ... n
//   RECALL                            the last thought it had in this conversation
//   anything else                     "Heard: " and that
//
// with THINK "a thought" before it where it shall think first (unless thinking is off). When a tool has answered since
// the last CALL it says "The tool said: " and the answers.
//
// Pure.
#pragma once

#include <string>
#include <string_view>

namespace spillway {

// Its chat template: Jinja, tool calls as Hermes writes them, thoughts in <think>.
extern const char* const kObedientTemplate;

// The answer to a prompt that this template made.
std::string obey(std::string_view prompt);

}  // namespace spillway
