// SPDX-License-Identifier: MIT
// The body of an error that comes from the server itself, in the protocol that a request speaks. Pure.
#pragma once

#include <string>

#include "serve/web.h"

namespace spillway {

// Anthropic's protocol: its paths, and those below /v1 that a client with an anthropic-version asks for.
bool speaks_anthropic(const WebRequest& request);

// {"error": "text"} for Ollama's paths; {"error": {message, type, …}} for OpenAI's and for others; Anthropic's shape.
std::string error_body(const WebRequest& request, int http_status, const std::string& message);

}  // namespace spillway
