// SPDX-License-Identifier: MIT
// Anthropic's protocol: /v1/messages and /v1/messages/count_tokens. Pure.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

// `counting`: for count_tokens, where max_tokens is not needed.
//   InvalidArgument
Result<Call> parse_anthropic_messages(std::string_view body, bool counting);

// `request_id`: for an error within the stream.
std::unique_ptr<AnswerWriter> make_anthropic_writer(const Call& call, std::string id, std::string request_id);

// {"type":"error","error":{"type","message"},"request_id"}; with a reason also details.error_code.
std::string anthropic_error(const Status& status, const std::string& request_id);

}  // namespace spillway
