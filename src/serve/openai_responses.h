// SPDX-License-Identifier: MIT
// OpenAI's /v1/responses without state: nothing is stored, nothing can be referred to later. Pure.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "serve/call.h"

namespace spillway {

//   InvalidArgument   also: previous_response_id, conversation, background
Result<Call> parse_openai_responses(std::string_view body);

std::unique_ptr<AnswerWriter> make_openai_responses_writer(const Call& call, std::string id, int64_t created_s);

}  // namespace spillway
