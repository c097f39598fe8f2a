// SPDX-License-Identifier: MIT
// What OpenAI's endpoints have in common. Private to them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

constexpr const char* kFingerprint = "fp_spillway";

// All but the conversation itself and its tools: model, sampling, limits, format, effort. `min_tokens`: the least that
// may be asked for.
//   InvalidArgument
Result<void> parse_openai_options(const Json& json, int64_t min_tokens, Call& call);

// Whatever is neither `known` nor one of the options is noted in call.not_applied; one that says that the conversation
// is more than its messages is refused.
Result<void> check_openai_fields(const Json& json, std::span<const char* const> known, Call& call);

// "n", and "best_of", which must be the same.
Result<void> parse_n(const Json& json, Call& call);

// A message's content: text, or parts, whose texts are joined; files that are text belong to them. Images of a user are
// noted in `message`; what a tool ("tool") or the model returned is told of in words. nullptr: empty.
//   InvalidArgument
Result<std::string> parse_openai_content(const Json* content, const std::string& role, Message& message);

Json openai_usage(const AnswerEnd& end);

// The counts of all choices together: `ends` are in the order of answer_of().
AnswerEnd sum_of_choices(const std::vector<AnswerEnd>& ends, size_t n_choices);
const char* openai_finish_reason(const AnswerEnd& end);
std::string openai_event(const Json& json);

// An answer as events that have no name.
class OpenAiWriter : public AnswerWriter {
 public:
  const char* stream_type() const override { return "text/event-stream"; }
  std::string heartbeat() override { return ": still there\n\n"; }
  std::string failure(const Status& status) override;
};

// The choices of one call, as chats and completions write them: each object has the same head, and the last one of a
// stream has the usage where that was asked for.
class OpenAiChoicesWriter : public OpenAiWriter {
 public:
  std::string last() override;
  std::string whole(const AnswerPart& all, const AnswerEnd& end) override { return whole_of({{all, end}}); }

 protected:
  OpenAiChoicesWriter(const Call& call, std::string id, int64_t created_s);

  virtual Json head(bool streamed) const = 0;
  std::string whole_text(Json choices, const std::vector<AnswerEnd>& ends) const;

  const std::string model_, id_;
  const int64_t created_s_;
  const bool include_usage_;
  const size_t n_choices_;
  std::vector<AnswerEnd> ends_;  // by choice: they end in any order
};

}  // namespace spillway
