// SPDX-License-Identifier: MIT
// What OpenAI's endpoints have in common. Private to them.
#pragma once

#include <string>

#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

constexpr const char* kFingerprint = "fp_spillway";

// All but the conversation itself: model, sampling, limits, tools and the choice among them, format, effort.
//   InvalidArgument
Result<void> parse_openai_options(const Json& json, Call& call);

// A message's content: text, or parts, whose texts are joined; `has_images` notes what is none. nullptr: empty.
//   InvalidArgument
Result<std::string> parse_openai_content(const Json* content, bool& has_images);

Json openai_usage(const AnswerEnd& end);
const char* openai_finish_reason(const AnswerEnd& end);
std::string openai_event(const Json& json);

// An answer as events that have no name.
class OpenAiWriter : public AnswerWriter {
 public:
  const char* stream_type() const override { return "text/event-stream"; }
  std::string heartbeat() override { return ": still there\n\n"; }
  std::string failure(const Status& status) override;
};

}  // namespace spillway
