// SPDX-License-Identifier: MIT
// OpenAI's protocol: /v1/chat/completions, /v1/completions, /v1/embeddings. Pure. (/v1/responses: openai_responses.h)
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

//   InvalidArgument
Result<Call> parse_openai_chat(std::string_view body);
Result<Call> parse_openai_completion(std::string_view body);
Result<EmbedCall> parse_openai_embeddings(std::string_view body);

std::unique_ptr<AnswerWriter> make_openai_chat_writer(const Call& call, std::string id, int64_t created_s);
std::unique_ptr<AnswerWriter> make_openai_completion_writer(const Call& call, std::string id, int64_t created_s);
std::string openai_embed_reply(const EmbedCall& call, const EmbedResult& result);

// {"error":{message, type, param, code}}
std::string openai_error(const Status& status);

}  // namespace spillway
