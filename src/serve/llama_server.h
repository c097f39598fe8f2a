// SPDX-License-Identifier: MIT
// llama-server's own paths that compute: /completion and /infill. Pure.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

// "model" may be missing: the caller knows which one is meant then. The prompt is a text or a list of token ids.
//   InvalidArgument
Result<Call> parse_llama_completion(std::string_view body);

// What stands before and behind the cursor ("input_prefix", "input_suffix"), and other files ("input_extra").
//   InvalidArgument
Result<Call> parse_llama_infill(std::string_view body);

std::unique_ptr<AnswerWriter> make_llama_writer(const Call& call);

}  // namespace spillway
