// SPDX-License-Identifier: MIT
// Ollama's protocol for what computes: /api/generate, /api/chat, /api/embed, /api/embeddings. Requests become calls,
// answers become NDJSON or one object. Pure.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

//   InvalidArgument   everything that is wrong with a request, in Ollama's words where clients look at them
Result<Call> parse_ollama_chat(std::string_view body);
Result<Call> parse_ollama_generate(std::string_view body);
Result<EmbedCall> parse_ollama_embed(std::string_view body);
Result<EmbedCall> parse_ollama_embeddings(std::string_view body);

// `unix_s` is the time now, asked for each object. `chat`: message objects instead of response texts.
std::unique_ptr<AnswerWriter> make_ollama_writer(const Call& call, std::function<double()> unix_s);

std::string ollama_embed_reply(const EmbedCall& call, const EmbedResult& result);
std::string ollama_error(const Status& status);

}  // namespace spillway
