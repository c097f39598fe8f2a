// SPDX-License-Identifier: MIT
// What the blocks of Anthropic's messages become before a model sees them.
#include "serve/anthropic.h"
#include "serve/message_images.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// A request with these messages, and other fields before them.
Result<Call> parse(const std::string& messages, const std::string& fields = "") {
  return parse_anthropic_messages(R"({"model":"m","max_tokens":9,)" + fields + R"("messages":[)" + messages + "]}",
                                  false);
}
Call call_of(const std::string& messages, const std::string& fields = "") {
  auto call = parse(messages, fields);
  EXPECT_TRUE(call) << call.error().message();
  return call ? std::move(*call) : Call();
}
std::string refusal_of(const std::string& messages, const std::string& fields = "") {
  const auto call = parse(messages, fields);
  return call ? "" : call.error().message();
}
std::string user(const std::string& blocks) { return R"({"role":"user","content":[)" + blocks + "]}"; }
std::string result(const std::string& blocks) {
  return user(R"({"type":"tool_result","tool_use_id":"c1","content":[)" + blocks + "]}");
}
std::vector<std::string> names(const std::vector<Tool>& tools) {
  std::vector<std::string> all;
  for (const Tool& tool : tools)
    all.push_back(tool.name + (tool.in_prompt ? "" : " (later)") + (tool.callable ? "" : " (not callable)"));
  return all;
}

constexpr const char* kPng = R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}})";
constexpr const char* kPdf =
    R"({"type":"document","title":"Plan","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"}})";
constexpr const char* kTwoTools =
    R"("tools":[{"name":"search","input_schema":{"type":"object"}},
                {"name":"fetch","description":"Gets it","defer_loading":true,"input_schema":{"type":"object","properties":{"url":{"type":"string"}}}}],)";

TEST(AnthropicMessages, PartsOfOneMessageAreLinesOfIt) {
  const Call call =
      call_of(user(R"({"type":"text","text":"one"},{"type":"text","text":"two\n"},{"type":"text","text":"three"})"));
  ASSERT_EQ(call.messages.size(), 1u);
  EXPECT_EQ(call.messages[0].content, "one\ntwo\nthree");
}

TEST(AnthropicMessages, WhatAModelWroteIsJoinedAsItWroteIt) {
  const Call call = call_of(
      R"({"role":"assistant","content":[{"type":"text","text":"The sky"},{"type":"text","text":" is blue."}]})");
  EXPECT_EQ(call.messages[0].content, "The sky is blue.");
}

TEST(AnthropicMessages, DocumentsAndSearchResultsAreTextWithTheirTitle) {
  const Call call = call_of(user(
      R"({"type":"document","title":"Notes","context":"of May","source":{"type":"text","media_type":"text/plain","data":"It rained."}},
              {"type":"document","source":{"type":"content","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}},
              {"type":"search_result","title":"Rain","source":"https://a.test","content":[{"type":"text","text":"It falls."}]},
              {"type":"text","text":"Why?"})"));
  EXPECT_EQ(call.messages[0].content,
            "<document title=\"Notes\">\nof May\nIt rained.\n</document>\n<document>\na\nb\n</document>\n"
            "<search_result title=\"Rain\" source=\"https://a.test\">\nIt falls.\n</search_result>\nWhy?");
}

TEST(AnthropicMessages, WhatAToolReturnsBecomesTextWhateverItIs) {
  const Call call = call_of(
      R"({"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"Read","input":{"path":"a.png"}}]},)" +
      result(std::string(R"({"type":"text","text":"one file"},)") + kPng + "," + kPdf +
             R"(,{"type":"search_result","title":"T","source":"s","content":[{"type":"text","text":"x"}]})"));
  ASSERT_EQ(call.messages.size(), 2u);
  const Message& message = call.messages[1];
  EXPECT_EQ(message.role, "tool");
  EXPECT_EQ(message.tool_name, "Read");
  ASSERT_EQ(message.images.size(), 1u);
  EXPECT_EQ(message.images[0].media, "image/png");
  const std::string rest =
      "\n[PDF Plan: the model cannot see it]\n<search_result title=\"T\" source=\"s\">\nx\n</search_result>";
  EXPECT_EQ(message.content, "one file\n" + message.images[0].mark + rest);
  std::vector<Message> told = call.messages;
  tell_of_images(told);
  EXPECT_EQ(told[1].content, "one file\n[image image/png: the model cannot see it]" + rest);
}

TEST(AnthropicMessages, AFailureOfAToolIsToldOf) {
  const Call call =
      call_of(user(R"({"type":"tool_result","tool_use_id":"c1","is_error":true,"content":"no such file"})"));
  EXPECT_EQ(call.messages[0].content, "Error:\nno such file");
}

TEST(AnthropicMessages, AUsersImageIsLeftToWhoKnowsTheModelAndKeepsItsPlace) {
  const Call call = call_of(user(std::string(R"({"type":"text","text":"look"},)") + kPng));
  ASSERT_EQ(call.messages[0].images.size(), 1u);
  EXPECT_EQ(call.messages[0].images[0].place, "messages.0.content.1.image.source");
  EXPECT_EQ(call.messages[0].content, "look\n" + call.messages[0].images[0].mark);
}

TEST(AnthropicMessages, AUsersPdfIsRefusedAsPdf) {
  EXPECT_THAT(refusal_of(user(kPdf)), HasSubstr("messages.0.content.0.document.source: Could not process PDF"));
  EXPECT_THAT(refusal_of(user(R"({"type":"document","source":{"type":"url","url":"https://a.test/b.pdf"}})")),
              HasSubstr("nothing is fetched"));
}

TEST(AnthropicMessages, WhatTheirServiceDidIsTextWithoutWhatIsEncrypted) {
  const Call call = call_of(
      R"({"role":"assistant","content":[
        {"type":"text","text":"I search."},
        {"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"rain"}},
        {"type":"web_search_tool_result","tool_use_id":"s1","content":[{"type":"web_search_result","title":"Rain","url":"https://a.test","encrypted_content":"x"}]},
        {"type":"code_execution_tool_result","tool_use_id":"s2","content":{"type":"code_execution_result","stdout":"4","stderr":"","return_code":0}},
        {"type":"text","text":"It rains."}]})");
  EXPECT_EQ(
      call.messages[0].content,
      "I search.\n[web_search was called: {\"query\":\"rain\"}]\n"
      "[web_search_tool_result: [{\"type\":\"web_search_result\",\"title\":\"Rain\",\"url\":\"https://a.test\"}]]\n"
      "[code_execution_tool_result: "
      "{\"type\":\"code_execution_result\",\"stdout\":\"4\",\"stderr\":\"\",\"return_code\":0}]"
      "It rains.");
}

TEST(AnthropicMessages, AThoughtThatWasNotShownComesBack) {
  Call call = call_of(user(R"({"type":"text","text":"hi"})"), R"("thinking":{"type":"adaptive","display":"omitted"},)");
  EXPECT_TRUE(call.hide_thinking);
  AnswerPart part;
  part.thinking = "So: \"1\"";
  part.content = "One.";
  const Json whole = Json::parse(make_anthropic_writer(call, "msg_1", "req_1")->whole(part, {}));
  EXPECT_EQ(whole["content"][0]["thinking"], "");
  const Call next = call_of(R"({"role":"assistant","content":)" + whole["content"].dump() + "}");
  EXPECT_EQ(next.messages[0].thinking, part.thinking);
  EXPECT_EQ(next.messages[0].content, "One.");
  const auto writer = make_anthropic_writer(call, "msg_1", "req_1");
  const std::string streamed = writer->part(part) + writer->end({});
  EXPECT_THAT(streamed, Not(HasSubstr("thinking_delta")));
  EXPECT_THAT(streamed, HasSubstr(R"({"type":"signature_delta","signature":")" +
                                  whole["content"][0]["signature"].get<std::string>() + "\"}"));
}

TEST(AnthropicMessages, WhatClaudeCodeTellsTheAccountingIsNotForTheModel) {
  const Call call = call_of(
      user(R"({"type":"text","text":"hi"})"),
      R"("system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.332.28c;"},{"type":"text","text":"Be brief."}],)");
  EXPECT_EQ(call.messages[0].content, "Be brief.");
}

TEST(AnthropicTools, AToolThatWaitsIsWrittenWhereItIsNamedAndCanBeCalledFromThenOn) {
  EXPECT_THAT(names(call_of(user(R"({"type":"text","text":"hi"})"), kTwoTools).tools), ElementsAre("search"));
  const std::string turn =
      R"({"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"search","input":{}}]},)" +
      result(
          R"({"type":"tool_reference","tool_name":"fetch"},{"type":"tool_reference","tool_name":"nothing"},{"type":"tool_reference","tool_name":"search"})");
  const Call call = call_of(turn + "," + result(R"({"type":"tool_reference","tool_name":"fetch"})"), kTwoTools);
  EXPECT_THAT(names(call.tools), ElementsAre("search", "fetch (later)"));
  EXPECT_EQ(
      call.messages[1].content,
      "The tool fetch is available from now on:\n"
      R"({"type":"function","function":{"name":"fetch","description":"Gets it","parameters":{"type":"object","properties":{"url":{"type":"string"}}}}})"
      "\nThe tool nothing is not available.\nThe tool search is available.");
  EXPECT_EQ(call.messages[2].content, "The tool fetch is available.");
}

TEST(AnthropicTools, ToolsComeAndGoWithMessagesOfTheSystem) {
  const Call call = call_of(
      user(R"({"type":"text","text":"hi"})") +
          R"(,{"role":"system","content":[{"type":"tool_addition","tool":{"type":"tool_reference","name":"fetch"}},
               {"type":"tool_addition","tool":{"type":"tool_definition","definition":{"name":"late","input_schema":{"type":"object"}}}},
               {"type":"tool_removal","tool":{"type":"tool_reference","name":"search"}}]})",
      kTwoTools);
  EXPECT_THAT(names(call.tools), ElementsAre("search (not callable)", "fetch (later)", "late (later)"));
  EXPECT_THAT(call.messages[1].content, HasSubstr("The tool late is available from now on:"));
  EXPECT_THAT(call.messages[1].content, HasSubstr("The tool search is not available any more."));
}

TEST(AnthropicTools, WhereTheirServiceWouldSearchAllToolsAreListed) {
  const Call call = call_of(user(R"({"type":"text","text":"hi"})"),
                            R"("tools":[{"type":"tool_search_tool_bm25_20251119","name":"tool_search_tool_bm25"},
                                        {"name":"fetch","defer_loading":true,"input_schema":{"type":"object"}}],)");
  EXPECT_THAT(names(call.tools), ElementsAre("fetch"));
}

TEST(AnthropicTools, ToolsOfTheirOwnHaveTheirPublicSchemas) {
  const Call call = call_of(user(R"({"type":"text","text":"hi"})"),
                            R"("tools":[{"type":"bash_20250124","name":"bash"},
                                        {"type":"text_editor_20250728","name":"str_replace_based_edit_tool"},
                                        {"type":"text_editor_20250124","name":"str_replace_editor"},
                                        {"type":"memory_20250818","name":"memory"},
                                        {"type":"web_search_20250305","name":"web_search"}],)");
  EXPECT_THAT(names(call.tools), ElementsAre("bash", "str_replace_based_edit_tool", "str_replace_editor", "memory"));
  EXPECT_THAT(call.tools[0].parameters, HasSubstr(R"("restart")"));
  EXPECT_THAT(call.tools[1].parameters, Not(HasSubstr("undo_edit")));
  EXPECT_THAT(call.tools[2].parameters, HasSubstr("undo_edit"));
  EXPECT_THAT(call.not_applied, ElementsAre("tools: web_search_20250305")) << "nobody runs it here, and that is said";
  EXPECT_THAT(refusal_of(user(R"({"type":"text","text":"hi"})"),
                         R"("tools":[{"type":"computer_20251124","name":"computer"}],)"),
              HasSubstr("computer_20251124"));
}

TEST(AnthropicTools, AChoiceOfOneToolLeavesTheOthersListed) {
  const std::string tools =
      R"("tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"b","input_schema":{"type":"object"}}],)";
  const Call call =
      call_of(user(R"({"type":"text","text":"hi"})"), tools + R"("tool_choice":{"type":"tool","name":"b"},)");
  EXPECT_THAT(names(call.tools), ElementsAre("a (not callable)", "b"));
  EXPECT_EQ(call.tool_choice, ToolChoice::kRequired);
  EXPECT_FALSE(call.several_calls);
}

TEST(AnthropicFields, WhatSaysThatTheConversationIsMoreThanItsMessagesIsRefused) {
  const std::string hi = user(R"({"type":"text","text":"hi"})");
  for (const char* field :
       {R"("thread":{"type":"create"},)", R"("thread":{"type":"continue","previous_message_id":"m"},)"}) {
    const auto call = parse(hi, field);
    ASSERT_FALSE(call);
    EXPECT_EQ(call.error().reason(), "thread_unsupported_request");
  }
  for (const char* field : {R"("previous_message_id":"m",)", R"("conversation_id":"c",)", R"("container":"c",)",
                            R"("mcp_servers":[{"name":"s"}],)", R"("compaction":{"type":"summarize"},)",
                            R"("context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]},)"})
    EXPECT_NE(refusal_of(hi, field), "") << field;
}

TEST(AnthropicFields, WhatElseIsUnknownIsNamed) {
  const Call call = call_of(user(R"({"type":"text","text":"hi"})"),
                            R"("sparkle":1,"metadata":{"user_id":"u"},"cache_control":{"type":"ephemeral"},)");
  EXPECT_THAT(call.not_applied, ElementsAre("sparkle"));
}

TEST(AnthropicFields, ThoughtsOfEarlierTurnsAreClearedAsAsked) {
  const std::string turns =
      R"({"role":"assistant","content":[{"type":"thinking","thinking":"first","signature":""},{"type":"text","text":"a"}]},)" +
      user(R"({"type":"text","text":"go on"})") +
      R"(,{"role":"assistant","content":[{"type":"thinking","thinking":"second","signature":""},{"type":"text","text":"b"}]},)" +
      user(R"({"type":"text","text":"and?"})");
  const auto thoughts = [&](const std::string& keep) {
    const Call call =
        call_of(turns, R"("context_management":{"edits":[{"type":"clear_thinking_20251015","keep":)" + keep + "}]},");
    return call.messages[0].thinking + "," + call.messages[2].thinking;
  };
  EXPECT_EQ(thoughts(R"("all")"), "first,second");
  EXPECT_EQ(thoughts(R"({"type":"thinking_turns","value":1})"), ",second");
  const std::string others = R"({"type":"clear_thinking_20251015","keep":{"type":"thinking_turns","value":)";
  EXPECT_EQ(thoughts(R"("all"},)" + others + R"(0}},)" + others + "1}"), ",");
}

TEST(AnthropicFields, AMessageOfTheSystemEndsWithTheUsersNextWhereItSaysSo) {
  const std::string system = R"({"role":"system","content":"for now","clear_at":"next_user_message"})";
  const std::string hi = user(R"({"type":"text","text":"hi"})");
  EXPECT_EQ(call_of(hi + "," + system).messages.size(), 2u);
  EXPECT_EQ(call_of(hi + "," + system + "," + hi).messages.size(), 2u);
}

}  // namespace
}  // namespace spillway
