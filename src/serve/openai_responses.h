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

// At the end a stream repeats what it sent. Log probabilities it repeats up to so many in all, tops included: the
// message in which there are more, and those after it, have none there.
std::unique_ptr<AnswerWriter> make_openai_responses_writer(const Call& call, std::string id, int64_t created_s);
std::unique_ptr<AnswerWriter> make_openai_responses_writer(const Call& call, std::string id, int64_t created_s,
                                                           size_t repeated_scores_max);

}  // namespace spillway
