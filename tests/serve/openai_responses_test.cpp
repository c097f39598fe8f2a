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

TEST(OpenAiResponses, WhatWasAskedForIsRepeatedAsItWasSentWithDefaults) {
  const auto call = parse_openai_responses(
      R"({"model":"m","input":"x","metadata":{"a":[[],{"b\n":"é"}]},"reasoning":{"effort":"low"},)"
      R"("text":{"verbosity":"low"},"user":null})");
  ASSERT_TRUE(call) << call.error().message();
  const auto writer = make_openai_responses_writer(*call, "resp_1", 0);
  for (const Json& event : events_of(writer->heartbeat() + writer->failure({Code::kIo, "x"}))) {
    const Json& response = event["response"];
    EXPECT_EQ(response["metadata"].dump(), R"({"a":[[],{"b\n":"é"}]})");
    EXPECT_EQ(response["reasoning"].dump(), R"({"effort":"low","summary":null})");
    EXPECT_EQ(response["text"].dump(), R"({"verbosity":"low","format":{"type":"text"}})");
    EXPECT_EQ(response["tools"].dump(), "[]");
    EXPECT_TRUE(response["user"].is_null());
    EXPECT_EQ(response["status"], event["type"] == "response.failed" ? "failed" : "in_progress");
  }
}

// A token with one top: two log probabilities.
AnswerPart scored_part(const std::string& text) {
  const TokenScore top{.id = 0, .bytes = "x", .logprob = -2};
  return {.content = text,
          .thinking = {},
          .tool_calls = {},
          .scores = {{.id = 0, .bytes = text, .logprob = -1, .top = {top}}}};
}

// The parser holds "<" back until it is no call.
TEST(OpenAiResponses, ScoresOfTextThatWasHeldBackComeWithIt) {
  const auto writer = make_openai_responses_writer({}, "resp_1", 0, 100);
  const auto held_part = [](const std::string& text) {
    AnswerPart part = scored_part(text);
    part.content.clear();
    return part;
  };
  AnswerPart thought = held_part("hm"), last = scored_part(" ");
  thought.thinking = "hm";
  last.content = "<a ";
  std::string bytes = writer->part(thought);
  for (const char* mark : {"</", "think>", "\n", "<", "a"}) bytes += writer->part(held_part(mark));
  bytes += writer->part(last);
  bytes += writer->end({});
  for (const Json& event : events_of(bytes))
    EXPECT_EQ(event.value("logprobs", Json(Json::array({1, 2, 3}))).size(), 3u) << event;
  EXPECT_EQ(events_of(bytes).back()["response"]["output"][1]["content"][0]["logprobs"].size(), 3u);
}

// An answer of 131,072 tokens with 20 tops each took gigabytes when it ended.
TEST(OpenAiResponses, MoreLogProbabilitiesThanAreKeptAreSentAndNotRepeatedAtTheEnd) {
  const auto writer = make_openai_responses_writer({}, "resp_1", 0, 4);
  std::string bytes = writer->part(scored_part("a"));
  AnswerPart called;
  called.tool_calls = {{"call_1", "f", "{}"}};
  bytes += writer->part(called);
  for (const char* text : {"b", "c", "d"}) bytes += writer->part(scored_part(text));
  bytes += writer->end({});
  size_t n_deltas = 0;
  std::vector<size_t> n_done;
  for (const Json& event : events_of(bytes)) {
    if (event["type"] == "response.output_text.delta") {
      ++n_deltas;
      EXPECT_EQ(event["logprobs"].size(), 1u) << event;
    }
    if (event["type"] == "response.output_text.done") n_done.push_back(event["logprobs"].size());
  }
  EXPECT_EQ(n_deltas, 4u);
  EXPECT_EQ(n_done, (std::vector<size_t>{1, 0})) << "all of a message or nothing";
  const Json output = events_of(bytes).back()["response"]["output"];
  EXPECT_EQ(output[0]["content"][0]["logprobs"].size(), 1u);
  EXPECT_EQ(output[2]["content"][0]["text"], "bcd");
  EXPECT_EQ(output[2]["content"][0]["logprobs"], Json::array());
}

TEST(OpenAiResponses, AsManyLogProbabilitiesAsAreKeptAreRepeatedAtTheEnd) {
  const auto writer = make_openai_responses_writer({}, "resp_1", 0, 4);
  std::string bytes = writer->part(scored_part("a"));
  bytes += writer->part(scored_part("b"));
  bytes += writer->end({});
  EXPECT_EQ(events_of(bytes).back()["response"]["output"][0]["content"][0]["logprobs"].size(), 2u);
}

}  // namespace
}  // namespace spillway
