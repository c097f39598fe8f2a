// SPDX-License-Identifier: MIT
#include "serve/openai_responses.h"

#include <gtest/gtest.h>

#include <sstream>

#include "serve/json_input.h"

namespace spillway {
namespace {

std::vector<Json> events_of(const std::string& bytes) {
  std::vector<Json> events;
  std::istringstream lines(bytes);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("data: ")) events.push_back(Json::parse(line.substr(6)));
  return events;
}

TEST(OpenAiResponses, EventsAreNumberedAsTheyAreSentAndNoPartIsSpokenOfBeforeItIsAdded) {
  Call call;
  call.model = "m";
  const auto writer = make_openai_responses_writer(call, "resp_1", 0);
  std::string bytes = writer->part({.content = {}, .thinking = "h", .tool_calls = {}, .scores = {}});
  bytes += writer->part({.content = {}, .thinking = "m", .tool_calls = {}, .scores = {}});
  bytes += writer->part({.content = "yes", .thinking = {}, .tool_calls = {{"call_1", "f", "{}"}}, .scores = {}});
  AnswerEnd end;
  end.called_tools = true;
  bytes += writer->end(end);
  const std::vector<Json> events = events_of(bytes);
  std::vector<std::string> types;
  for (const Json& event : events) {
    EXPECT_EQ(event["sequence_number"], types.size()) << event["type"];
    types.push_back(event["type"].get<std::string>().substr(sizeof "response." - 1));
  }
  const std::vector<std::string> expected = {"created",
                                             "in_progress",
                                             "output_item.added",
                                             "reasoning_summary_part.added",
                                             "reasoning_summary_text.delta",
                                             "reasoning_summary_text.delta",
                                             "reasoning_summary_text.done",
                                             "reasoning_summary_part.done",
                                             "output_item.done",
                                             "output_item.added",
                                             "content_part.added",
                                             "output_text.delta",
                                             "output_text.done",
                                             "content_part.done",
                                             "output_item.done",
                                             "output_item.added",
                                             "function_call_arguments.delta",
                                             "function_call_arguments.done",
                                             "output_item.done",
                                             "completed"};
  EXPECT_EQ(types, expected);
  EXPECT_EQ(events.back()["response"]["output"][0]["summary"][0]["text"], "hm");
}

}  // namespace
}  // namespace spillway
