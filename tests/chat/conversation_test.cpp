// SPDX-License-Identifier: MIT
#include "chat/conversation.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "chat/conversation_json.h"

namespace spillway {
namespace {

using testing::HasSubstr;

Message answer_to(const std::string& id, const std::string& content) {
  return {.role = "tool", .content = content, .tool_call_id = id};
}

Message assistant_calls(const std::vector<std::string>& ids) {
  Message message{.role = "assistant", .content = "so"};
  for (const std::string& id : ids) message.tool_calls.push_back({.id = id, .name = "find"});
  return message;
}

// The answers are in the order of the calls turned round.
std::vector<Message> many_calls(size_t count) {
  std::vector<Message> messages{{.role = "assistant"}};
  for (size_t i = 0; i < count; ++i) {
    messages[0].tool_calls.push_back({.id = fmt::format("call_{}", i), .name = "find"});
    messages.push_back(answer_to(fmt::format("call_{}", i), fmt::format("answer {}", i)));
  }
  std::reverse(messages.begin() + 1, messages.end());
  return messages;
}

// "so>1" is the call 1 of a message that says "so", "=x" an answer.
std::string as_one_call_each(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : arranged(messages, {.several_calls = false})) {
    text += message.role == "tool" ? "=" + message.content : message.content;
    for (const ToolCall& call : message.tool_calls) text += ">" + call.id;
    text += " ";
  }
  return text;
}

std::string with_counted_ids(const std::vector<Message>& messages) {
  return template_variables(messages, {}, {}, {.counted_call_ids = true}, {}).value();
}

TEST(ConversationTest, ToolsThatAllComeLaterAreNoneAlsoWhereTheyAreText) {
  const auto functions = [](const std::vector<Tool>& tools) {
    const PromptOptions options{.now = 0};
    return template_variables({}, tools, options, {.tools_as_text = true}, {}).value();
  };
  EXPECT_THAT(functions({}), HasSubstr(R"("functions":"[]")"));
  EXPECT_EQ(functions({{.name = "later", .in_prompt = false}}), functions({}));
}

TEST(ConversationTest, EachAnswerComesBehindItsOwnCall) {
  EXPECT_EQ(as_one_call_each({assistant_calls({"1", "2"}), answer_to("2", "b"), answer_to("1", "a")}),
            "so>1 =a >2 =b ");
  EXPECT_EQ(
      as_one_call_each({assistant_calls({"1", "2"}), answer_to("", "x"), answer_to("1", "a"), answer_to("", "y")}),
      "so>1 =a >2 =x =y ")
      << "one that names no call is for the first that has none";
  EXPECT_EQ(as_one_call_each(
                {assistant_calls({"1", "1", "1"}), answer_to("1", "a"), answer_to("", "x"), answer_to("1", "b")}),
            "so>1 =a >1 =b >1 =x ");
  EXPECT_EQ(
      as_one_call_each({assistant_calls({"", "2"}), answer_to("2", "b"), answer_to("9", "?"), answer_to("", "x")}),
      "so> =x >2 =b =? ");
  EXPECT_EQ(
      as_one_call_each(
          {assistant_calls({"1", "2"}), answer_to("2", "b"), {.role = "user", .content = "u"}, answer_to("1", "a")}),
      "so>1 >2 =b u =a ");
}

TEST(ConversationTest, WhatAMessageBringsBesideItsCallsComesWithTheFirstAlone) {
  Message message = assistant_calls({"1", "2"});
  message.thinking = "hm";
  message.tool_call_id = "large";
  message.images.push_back({.mark = "m", .data = "large"});
  const auto apart = arranged(std::vector<Message>{message}, {.several_calls = false});
  ASSERT_EQ(apart.size(), 2u);
  EXPECT_EQ(apart[0].content + apart[0].thinking + apart[0].tool_call_id + apart[0].images.at(0).data,
            "sohmlargelarge");
  EXPECT_EQ(apart[1].role, "assistant");
  EXPECT_EQ(apart[1].tool_calls.at(0).id, "2");
  EXPECT_EQ(apart[1].content + apart[1].thinking + apart[1].tool_call_id, "");
  EXPECT_TRUE(apart[1].images.empty());
}

TEST(ConversationTest, CallsAreCountedAndTheirAnswersToldWhichOneTheyAnswer) {
  const auto answered = [](const std::vector<Message>& answers) {
    std::vector<Message> messages{assistant_calls({"a", "b", "a", ""})};
    messages.insert(messages.end(), answers.begin(), answers.end());
    const std::string text = with_counted_ids(messages);
    std::string ids;
    for (size_t at = 0; (at = text.find("\"tool_call_id\":\"", at)) != std::string::npos;) {
      at += 16;
      ids += text.substr(at, text.find('"', at) - at) + " ";
    }
    return ids;
  };
  EXPECT_EQ(answered({answer_to("b", ""), answer_to("a", ""), answer_to("a", ""), answer_to("a", "")}),
            "functions.find:1 functions.find:0 functions.find:2 a ");
  EXPECT_EQ(answered({answer_to("", ""), answer_to("a", ""), answer_to("", ""), answer_to("", ""), answer_to("b", "")}),
            "functions.find:0 functions.find:2 functions.find:1 functions.find:3 b ")
      << "one that names none answers the first that is not answered";
}

TEST(ConversationTest, ManyCallsTakeTimeThatGrowsWithTheirNumber) {
  constexpr size_t kCount = 200'000;
  const std::vector<Message> messages = many_calls(kCount);
  const auto apart = arranged(messages, {.several_calls = false});
  ASSERT_EQ(apart.size(), 2 * kCount);
  for (size_t i = 0; i < kCount; ++i) ASSERT_EQ(apart[2 * i].tool_calls[0].id, apart[2 * i + 1].tool_call_id);
  EXPECT_THAT(with_counted_ids(messages), HasSubstr(R"("answer 199998","tool_call_id":"functions.find:199998")"));
}

TEST(ConversationTest, AToolOfManyParametersIsDescribedInTimeThatGrowsWithThem) {
  std::string parameters = R"({"properties":{"a0":{})";
  for (int i = 1; i < 200'000; ++i) parameters += R"(,"a)" + std::to_string(i) + R"(":{})";
  const std::vector<Tool> tools = {{.name = "t", .parameters = parameters + "}}"}};
  const std::string described = with_descriptions(tools)[0].parameters;
  EXPECT_EQ(described.substr(0, 43), R"({"properties":{"a0":{"description":""},"a1")");
  EXPECT_TRUE(described.ends_with(R"("a199999":{"description":""}}})"));
}

}  // namespace
}  // namespace spillway
