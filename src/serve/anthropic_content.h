// SPDX-License-Identifier: MIT
// The conversation of a request in Anthropic's protocol: messages made of blocks. Private to anthropic.cpp. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "serve/call.h"
#include "serve/json_input.h"
#include "serve/toolbox.h"

namespace spillway {

// Whatever is text becomes text where it stands: documents and search results with their titles, what their service's
// own tools did, tools that come in or go. Images and PDFs that a tool returns are told of; those of a user are left to
// who knows the model (images), or refused (PDFs), by the path that clients read in messages:
// "messages.2.content.0.image".
//
// Adds to call.messages, and to call.not_applied what nobody can read. A system message says `effort` for what follows.
//   InvalidArgument   a block of an unknown type, or without what it needs
Result<void> read_anthropic_messages(const Json& messages, Toolbox& tools, Call& call);

// "system": a string, or blocks of text.
Result<std::string> read_anthropic_system(const Json& system);

// Where a client wants no thoughts to be shown, they travel in a block's signature, so that they come back to the
// model.
std::string signature_of_thought(const std::string& thought);
std::string thought_of_signature(std::string_view signature);  // empty: it is none of ours

}  // namespace spillway
