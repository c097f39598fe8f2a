// SPDX-License-Identifier: MIT
// What a model that must call is held to: the grammar of its format admits what the format's templates show it, the
// parser reads that back, and nothing else is admitted.
#include "chat/answer_grammar.h"

#include <gmock/gmock.h>

#include <random>

#include "chat/output_parser.h"
#include "gbnf_matcher.h"

namespace spillway {
namespace {

const std::vector<Tool> kTools = {
    {.name = "find",
     .parameters =
         R"({"type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"}},"required":["text"]})"},
    {.name = "list", .parameters = R"({"type":"object","properties":{}})"}};

constexpr CallFormat kFormats[] = {CallFormat::kJson,       CallFormat::kHermes,      CallFormat::kQwenXml,
                                   CallFormat::kLlama3,     CallFormat::kMistral,     CallFormat::kHarmony,
                                   CallFormat::kDeepSeekR1, CallFormat::kDeepSeekV31, CallFormat::kGlm};

bool admits(CallFormat format, std::string_view answer, bool several = true, const std::vector<Tool>& tools = kTools) {
  const auto grammar = grammar_of_calls(format, tools, several);
  EXPECT_TRUE(grammar) << call_format_name(format);
  return grammar && GbnfMatcher(*grammar).matches(answer);
}

// "find{…} list{…}", as the parser reads the answer.
std::string read_back(CallFormat format, std::string_view answer, const std::vector<Tool>& tools = kTools) {
  const auto parser = OutputParser::make({.format = {format, "", ""}, .tools = tools});
  OutputDelta all = parser->push(answer);
  OutputDelta rest = parser->finish();
  std::string text = all.content + rest.content;
  for (const OutputDelta* delta : {&all, &rest})
    for (const ToolCall& call : delta->tool_calls) text += (text.empty() ? "" : " ") + call.name + call.arguments;
  return text;
}

struct Case {
  CallFormat format;
  const char *one, *two;  // two: nullptr where the format has no way to write that
};
const Case kCanonical[] = {
    {CallFormat::kJson, R"({"name": "find", "arguments": {"text": "x", "n": 1}})",
     R"([{"name": "find", "arguments": {"text": "x", "n": 1}}, {"name": "list", "arguments": {}}])"},
    {CallFormat::kHermes, "<tool_call>\n{\"name\": \"find\", \"arguments\": {\"text\": \"x\", \"n\": 1}}\n</tool_call>",
     "<tool_call>\n{\"name\": \"find\", \"arguments\": {\"text\": \"x\", \"n\": 1}}\n</tool_call>\n<tool_call>\n"
     "{\"name\": \"list\", \"arguments\": {}}\n</tool_call>"},
    {CallFormat::kQwenXml,
     "<tool_call>\n<function=find>\n<parameter=text>\nx\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n"
     "</tool_call>",
     "<tool_call>\n<function=find>\n<parameter=text>\nx\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n"
     "</tool_call>\n<tool_call>\n<function=list>\n</function>\n</tool_call>"},
    {CallFormat::kLlama3, R"({"name": "find", "parameters": {"text": "x", "n": 1}})",
     R"({"name": "find", "parameters": {"text": "x", "n": 1}}; {"name": "list", "parameters": {}})"},
    {CallFormat::kMistral, R"([TOOL_CALLS][{"name": "find", "arguments": {"text": "x", "n": 1}}])",
     R"([TOOL_CALLS] [{"name": "find", "arguments": {"text": "x", "n": 1}}, {"name": "list", "arguments": {}}])"},
    {CallFormat::kMistral, R"([TOOL_CALLS]find[ARGS]{"text": "x", "n": 1})",
     R"([TOOL_CALLS]find[CALL_ID]abcdef123[ARGS]{"text": "x", "n": 1}[TOOL_CALLS]list[ARGS]{})"},
    {CallFormat::kHarmony,
     R"(<|channel|>commentary to=functions.find <|constrain|>json<|message|>{"text": "x", "n": 1})", nullptr},
    {CallFormat::kHarmony,
     R"(<|channel|>analysis<|message|>Is 1 < 2?<|end|><|start|>assistant to=functions.find<|channel|>commentary json<|message|>{"text": "x", "n": 1})",
     nullptr},
    {CallFormat::kDeepSeekR1,
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{\"text\": \"x\", \"n\": "
     "1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{\"text\": \"x\", \"n\": "
     "1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{}\n```<｜tool▁call▁end｜>"
     "<｜tool▁calls▁end｜>"},
    {CallFormat::kDeepSeekV31,
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{\"text\": \"x\", \"n\": "
     "1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{\"text\": \"x\", \"n\": "
     "1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>list<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
    {CallFormat::kGlm,
     "\n<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>x</arg_value>\n<arg_key>n</arg_key>\n<arg_value>1</"
     "arg_value>\n</tool_call>",
     "<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>x</arg_value>\n<arg_key>n</arg_key>\n<arg_value>1</"
     "arg_value>\n</tool_call>\n<tool_call>list\n</tool_call>"},
};

TEST(AnswerGrammarTest, CanonicalCallsAreAdmittedAndReadBack) {
  for (const Case& c : kCanonical) {
    SCOPED_TRACE(std::string(call_format_name(c.format)) + ": " + c.one);
    EXPECT_TRUE(admits(c.format, c.one));
    const std::string one = read_back(c.format, c.one);
    EXPECT_THAT(one, testing::EndsWith(R"(find{"text": "x", "n": 1})"));
    if (c.two == nullptr) continue;
    EXPECT_TRUE(admits(c.format, c.two)) << c.two;
    EXPECT_EQ(read_back(c.format, c.two), one + " list{}");
    EXPECT_FALSE(admits(c.format, c.two, false)) << "only one is wanted";
    EXPECT_TRUE(admits(c.format, c.one, false));
  }
}

TEST(AnswerGrammarTest, NothingButCallsIsAdmitted) {
  for (const CallFormat format : kFormats) {
    SCOPED_TRACE(call_format_name(format));
    for (const char* text :
         {"", "\n", "Hello", "I call find.", "{}", "[]", "{\"answer\": 1}", "<tool_call>", "<tool_call></tool_call>",
          "[TOOL_CALLS][]", "<|channel|>final<|message|>Hello", "<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>"})
      EXPECT_FALSE(admits(format, text)) << text;
  }
  for (const Case& c : kCanonical) {
    SCOPED_TRACE(c.one);
    const auto changed = [&](std::string_view from, std::string_view to) {
      std::string text = c.one;
      return text.replace(text.find(from), from.size(), to);
    };
    EXPECT_FALSE(admits(c.format, changed("find", "fund"))) << "a tool that nobody offered";
    EXPECT_FALSE(admits(c.format, changed("text", "test"))) << "an argument that the tool has not";
    EXPECT_FALSE(admits(c.format, std::string("So: ") + c.one));
    EXPECT_FALSE(admits(c.format, std::string(c.one) + " Done."));
  }
}

TEST(AnswerGrammarTest, WhateverIsAdmittedIsReadAsCallsAlone) {
  std::mt19937 random(5);
  for (const CallFormat format : kFormats) {
    const GbnfMatcher grammar(*grammar_of_calls(format, kTools, true));
    for (int round = 0; round < 300; ++round) {
      const std::string answer = grammar.sample(random);
      const auto parser = OutputParser::make({.format = {format, "", ""}, .tools = kTools});
      const OutputDelta all = parser->push(answer), rest = parser->finish();
      ASSERT_EQ(all.content + rest.content, "") << call_format_name(format) << ": " << answer;
      ASSERT_GT(all.tool_calls.size() + rest.tool_calls.size(), 0u) << call_format_name(format) << ": " << answer;
    }
  }
}

TEST(AnswerGrammarTest, MarkedTextIsAnythingButItsOwnEnd) {
  const auto call = [](std::string_view text) {
    return "<tool_call>\n<function=find>\n<parameter=text>\n" + std::string(text) +
           "\n</parameter>\n</function>\n</tool_call>";
  };
  for (const char* text : {"", "<p>a</p> < </para <</parameter x", "{\"a\": 1}\n\"", "é 😀", "</param</parameter"})
    EXPECT_TRUE(admits(CallFormat::kQwenXml, call(text))) << text;
  EXPECT_FALSE(admits(CallFormat::kQwenXml, call("a</parameter>b")));
  EXPECT_EQ(read_back(CallFormat::kQwenXml, call("<p>12</p>")), R"(find{"text": "<p>12</p>"})");
}

TEST(AnswerGrammarTest, MarkedArgumentsHaveTheirTypes) {
  const std::vector<Tool> tools = {
      {.name = "t",
       .parameters =
           R"({"type":"object","$defs":{"L":{"type":"array","items":{"type":"integer"}}},"required":["kind"],"properties":{"kind":{"type":"string","enum":["a","b c"]},"list":{"$ref":"#/$defs/L"},"any":{"not":{}},"odd":{"type":"string","not":{}}}})"}};
  const auto call = [](const std::string& inside) { return "<tool_call>t\n" + inside + "</tool_call>"; };
  const auto argument = [](const std::string& key, const std::string& value) {
    return "<arg_key>" + key + "</arg_key>\n<arg_value>" + value + "</arg_value>\n";
  };
  const auto ok = [&](const std::string& inside) { return admits(CallFormat::kGlm, call(inside), true, tools); };
  EXPECT_TRUE(ok(argument("kind", "b c") + argument("list", "[1, 2]") + argument("any", "{\"x\": null}")));
  EXPECT_TRUE(ok(argument("kind", "a")));
  EXPECT_TRUE(ok(argument("kind", "a") + argument("odd", "any text")));
  EXPECT_FALSE(ok(argument("kind", "c"))) << "none of the enum";
  EXPECT_FALSE(ok(argument("list", "[1]"))) << "kind is required";
  EXPECT_FALSE(ok(argument("kind", "a") + argument("list", "[true]")));
}

TEST(AnswerGrammarTest, ASchemaThatNoGrammarExpressesAdmitsAnyObject) {
  for (const char* parameters : {R"({"type":"object","properties":{"x":{"not":{}}}})", "{}", "", R"({"type":"string"})",
                                 R"({"type":"object","properties":{"x":{"$ref":"#/nowhere"}}})"}) {
    const std::vector<Tool> tools = {{.name = "t", .parameters = parameters}};
    EXPECT_TRUE(admits(CallFormat::kJson, R"({"name":"t","arguments":{"y":[1]}})", true, tools)) << parameters;
    EXPECT_FALSE(admits(CallFormat::kJson, R"({"name":"t","arguments":1})", true, tools)) << parameters;
  }
}

TEST(AnswerGrammarTest, ReferencesMeanTheToolTheyStandIn) {
  const auto tool = [](const char* name, const char* type) {
    return Tool{.name = name,
                .parameters = std::string(R"({"type":"object","$defs":{"V":{"type":")") + type +
                              R"("}},"properties":{"v":{"$ref":"#/$defs/V"}},"required":["v"]})"};
  };
  const std::vector<Tool> tools = {tool("a", "integer"), tool("b", "boolean")};
  EXPECT_TRUE(admits(CallFormat::kJson, R"({"name":"a","arguments":{"v":1}})", true, tools));
  EXPECT_TRUE(admits(CallFormat::kJson, R"({"name":"b","arguments":{"v":true}})", true, tools));
  EXPECT_FALSE(admits(CallFormat::kJson, R"({"name":"b","arguments":{"v":1}})", true, tools));
}

TEST(AnswerGrammarTest, WithoutToolsOrMarksThereIsNone) {
  EXPECT_FALSE(grammar_of_calls(CallFormat::kHermes, {}, true));
  EXPECT_FALSE(grammar_of_calls(CallFormat::kNone, kTools, true));
}

TEST(AnswerGrammarTest, JsonOfHarmonyIsAFinalMessageBehindAThought) {
  const std::string schema = R"({"type":"integer"})";
  const auto admits_json = [&](CallFormat format, const char* text) {
    return GbnfMatcher(*grammar_of_json_answer(format, schema)).matches(text);
  };
  EXPECT_TRUE(admits_json(CallFormat::kHarmony, "<|channel|>final<|message|>12"));
  EXPECT_TRUE(admits_json(CallFormat::kHarmony, "<|channel|>final <|constrain|>json<|message|>12"));
  EXPECT_TRUE(admits_json(
      CallFormat::kHarmony,
      "<|channel|>analysis<|message|>A number < 20.<|end|><|start|>assistant<|channel|>final<|message|>12"));
  EXPECT_FALSE(admits_json(CallFormat::kHarmony, "12"));
  EXPECT_FALSE(admits_json(CallFormat::kHarmony, "<|channel|>final<|message|>twelve"));
  EXPECT_TRUE(admits_json(CallFormat::kHermes, "12"));
}

}  // namespace
}  // namespace spillway
