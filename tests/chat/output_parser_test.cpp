// SPDX-License-Identifier: MIT
// Answers above, what becomes of them below. Each is also fed byte by byte and cut in two at every place: the result is
// the same.
#include "chat/output_parser.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

namespace spillway {
namespace {

using testing::HasSubstr;

const std::vector<Tool> kTwoTools = {
    {.name = "find", .parameters = R"({"properties":{"text":{"type":"string"},"n":{"type":"integer"}}})"},
    {.name = "list"}};

ParserOptions options(CallFormat calls, bool thinks = false) {
  ParserOptions result{.format = {calls, thinks ? "<think>" : "", thinks ? "</think>" : ""}};
  result.tools = kTwoTools;
  return result;
}

void add(OutputDelta& sum, OutputDelta delta) {
  sum.content += delta.content;
  sum.thinking += delta.thinking;
  for (ToolCall& call : delta.tool_calls) sum.tool_calls.push_back(std::move(call));
}

// "thinking{…}" "content" "call name arguments", joined by " | ".
std::string show(const OutputDelta& sum) {
  std::string out;
  const auto part = [&](const std::string& text) { out += (out.empty() ? "" : " | ") + text; };
  if (!sum.thinking.empty()) part("{" + sum.thinking + "}");
  if (!sum.content.empty()) part(sum.content);
  for (const ToolCall& call : sum.tool_calls) part(fmt::format("{}{}", call.name, call.arguments));
  return out;
}

std::string parse_pieces(const ParserOptions& how, const std::vector<std::string_view>& pieces) {
  const auto parser = OutputParser::make(how);
  OutputDelta sum;
  for (const std::string_view piece : pieces) add(sum, parser->push(piece));
  add(sum, parser->finish());
  return show(sum);
}

std::string parse(const ParserOptions& how, std::string_view text) {
  const std::string whole = parse_pieces(how, {text});
  std::vector<std::string_view> bytes;
  for (size_t i = 0; i < text.size(); ++i) bytes.push_back(text.substr(i, 1));
  EXPECT_EQ(parse_pieces(how, bytes), whole) << "byte by byte";
  for (size_t cut = 1; cut < text.size(); ++cut)
    EXPECT_EQ(parse_pieces(how, {text.substr(0, cut), text.substr(cut)}), whole) << "cut at " << cut;
  return whole;
}

TEST(OutputParserTest, PlainTextPassesUnchanged) {
  for (const CallFormat format :
       {CallFormat::kNone, CallFormat::kJson, CallFormat::kHermes, CallFormat::kMistral, CallFormat::kHarmony})
    EXPECT_EQ(parse(options(format), " Hello, <b>world</b>\n\n[1] {2} < é 😀 "),
              " Hello, <b>world</b>\n\n[1] {2} < é 😀 ")
        << call_format_name(format);
}

TEST(OutputParserTest, TextIsPassedOnAtOnceUnlessItMayBeAMark) {
  const auto parser = OutputParser::make(options(CallFormat::kHermes, true));
  EXPECT_EQ(parser->push("Hel").content, "Hel");
  EXPECT_EQ(parser->push("lo <tool").content, "lo");
  EXPECT_EQ(parser->push("box> \xF0\x9F").content, " <toolbox> ");
  EXPECT_EQ(parser->push("\x98\x80").content, "😀");
  EXPECT_EQ(parser->push("<tool_call>{\"name\": \"fi").content, "");
  const OutputDelta call = parser->push("nd\", \"arguments\": {}}");
  ASSERT_EQ(call.tool_calls.size(), 1u);  // complete with its last brace, whatever follows
  EXPECT_TRUE(parser->push("\n</tool_call>").empty());
  EXPECT_TRUE(parser->finish().empty());
}

TEST(OutputParserTest, ThoughtsAreTakenApart) {
  const auto how = options(CallFormat::kHermes, true);
  EXPECT_EQ(parse(how, "<think>\nhm, <b>\n</think>\n\nYes"), "{hm, <b>} | Yes");
  EXPECT_EQ(parse(how, "\n<think></think>Yes"), "Yes");
  EXPECT_EQ(parse(how, "<think>\n\n</think>\n\n<tool_call>{\"name\":\"list\",\"arguments\":{}}</tool_call>"), "list{}");
  EXPECT_EQ(parse(how, "a <think>b</think>"), "a <think>b</think>");
  EXPECT_EQ(parse(how, "<think>cut"), "{cut}");
  EXPECT_EQ(parse(how, "<thin ice"), "<thin ice");
  EXPECT_EQ(parse(how, "<think>a</think><think>b"), "{a} | <think>b");
}

TEST(OutputParserTest, AThoughtThatThePromptOpenedIsThinkingFromTheStart) {
  auto how = options(CallFormat::kHermes, true);
  how.starts_in_thinking = true;
  EXPECT_EQ(parse(how, "hm\n</think>\nYes"), "{hm} | Yes");
  EXPECT_EQ(parse(how, "<think>hm</think>Yes"), "{hm} | Yes");
  EXPECT_EQ(parse(how, "</think>Yes"), "Yes");
  const auto parser = OutputParser::make(how);
  EXPECT_TRUE(parser->in_thinking());
  parser->push("hm</think>");
  EXPECT_FALSE(parser->in_thinking());
}

TEST(OutputParserTest, Hermes) {
  const auto how = options(CallFormat::kHermes);
  EXPECT_EQ(parse(how, R"(Let me see.

<tool_call>
{"name": "find", "arguments": {"text": "a \"}\" b", "n": 1.0}}
</tool_call>
<tool_call>
{"name": "list", "arguments": {}}
</tool_call>
Done)"),
            R"(Let me see.Done | find{"text": "a \"}\" b", "n": 1.0} | list{})");
  EXPECT_EQ(parse(how, R"(<tool_call>{"arguments": "{\"n\": 2}", "name": "find"}</tool_call>)"), R"(find{"n": 2})");
}

TEST(OutputParserTest, WhatIsNoCallIsContent) {
  const auto how = options(CallFormat::kHermes);
  for (const char* text :
       {"<tool_call>not json</tool_call>", "<tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"find\", \"argu", "<tool_call>", "a <tool_call>[1, 2]</tool_call> b",
        "<tool_call>{\"name\": \"find\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"find\", \"arguments\": {,}}</tool_call>", "x <tool_"})
    EXPECT_EQ(parse(how, text), text);
}

TEST(OutputParserTest, WithoutToolsMarksAreText) {
  auto how = options(CallFormat::kHermes);
  how.tools.clear();
  const std::string text = R"(<tool_call>{"name": "find", "arguments": {}}</tool_call>)";
  EXPECT_EQ(parse(how, text), text);
}

TEST(OutputParserTest, QwenXml) {
  const auto how = options(CallFormat::kQwenXml);
  EXPECT_EQ(parse(how,
                  "I look.\n<tool_call>\n<function=find>\n<parameter=text>\n12\nline "
                  "\"two\"\n</parameter>\n<parameter=n>\n3\n</parameter>\n</function>\n"
                  "</tool_call>"),
            R"(I look. | find{"text": "12\nline \"two\"", "n": 3})");
  EXPECT_EQ(parse(how, "<function=list>\n</function>"), "list{}");
  EXPECT_EQ(parse(how, "<function=find><parameter=n>{\"a\": [1]}</parameter></function>"), R"(find{"n": {"a": [1]}})");
  EXPECT_EQ(parse(how, "<function=text>12</function>"), "<function=text>12</function>");
  EXPECT_EQ(parse(how, "<tool_call>\n<function=find>\n<parameter=n>"), "<tool_call>\n<function=find>\n<parameter=n>");
  EXPECT_EQ(parse(how, "<function=find><parameter=text>12</parameter></function>"), R"(find{"text": "12"})");
}

TEST(OutputParserTest, Llama3) {
  const auto how = options(CallFormat::kLlama3);
  EXPECT_EQ(parse(how, R"({"name": "find", "parameters": {"n": 1}})"), R"(find{"n": 1})");
  EXPECT_EQ(
      parse(
          how,
          R"(<|python_tag|>{"type": "function", "name": "find", "parameters": {}}; {"name": "list", "parameters": {}}<|eom_id|>)"),
      "find{} | list{}");
  EXPECT_EQ(parse(how, R"({"answer": "find", "parameters": {}})"), R"({"answer": "find", "parameters": {}})");
  EXPECT_EQ(parse(how, R"(See {"name": "find", "parameters": {}})"), R"(See {"name": "find", "parameters": {}})");
}

TEST(OutputParserTest, JsonThatIsNoCallIsPassedOnWithItsFirstKey) {
  const auto parser = OutputParser::make(options(CallFormat::kLlama3));
  EXPECT_EQ(parser->push("{\"").content, "");
  EXPECT_EQ(parser->push("answer\": 1, \"a").content, "{\"answer\": 1, \"a");
}

TEST(OutputParserTest, Mistral) {
  const auto how = options(CallFormat::kMistral);
  EXPECT_EQ(
      parse(
          how,
          R"([TOOL_CALLS][{"name": "find", "arguments": {"n": 1}}, {"name": "list", "arguments": {}, "id": "abcdef123"}])"),
      R"(find{"n": 1} | list{})");
  EXPECT_EQ(parse(how, R"(So:[TOOL_CALLS]find[ARGS]{"n": 1}[TOOL_CALLS]list[CALL_ID]123[ARGS]{})"),
            R"(So: | find{"n": 1} | list{})");
  EXPECT_EQ(parse(how, R"([TOOL_CALLS]find{"n": 1})"), R"(find{"n": 1})");
  EXPECT_EQ(parse(how, "[TOOL_CALLS] nothing"), "[TOOL_CALLS] nothing");
  EXPECT_EQ(parse(how, R"([TOOL_CALLS][{"name": "other", "arguments": {}}])"),
            R"([TOOL_CALLS][{"name": "other", "arguments": {}}])");
}

TEST(OutputParserTest, DeepSeek) {
  EXPECT_EQ(
      parse(options(CallFormat::kDeepSeekR1),
            "Well\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{\"n\": "
            "1}\n```<｜tool▁call▁end｜>\n"
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
      R"(Well | find{"n": 1} | list{})");
  const auto how = options(CallFormat::kDeepSeekV31, true);
  EXPECT_EQ(parse(how,
                  "<think>a</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{\"n\": "
                  "1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
            R"({a} | find{"n": 1})");
  EXPECT_EQ(parse(how, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>other<｜tool▁sep｜>{}"),
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>other<｜tool▁sep｜>{}");
}

TEST(OutputParserTest, Glm) {
  const auto how = options(CallFormat::kGlm, true);
  EXPECT_EQ(parse(how,
                  "\n<think>so</think>\nOk\n<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>12</"
                  "arg_value>\n<arg_key>n</arg_key>\n"
                  "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>list\n</tool_call>"),
            R"({so} | Ok | find{"text": "12", "n": 3} | list{})");
  EXPECT_EQ(parse(how, "<tool_call>other\n</tool_call>"), "<tool_call>other\n</tool_call>");
}

TEST(OutputParserTest, Json) {
  const auto how = options(CallFormat::kJson);
  EXPECT_EQ(parse(how, "```json\n{\"name\": \"find\", \"arguments\": {}}\n```"), "find{}");
  EXPECT_EQ(parse(how, R"([{"type": "function", "function": {"name": "find", "arguments": {"n": 1}}}])"),
            R"(find{"n": 1})");
  EXPECT_EQ(parse(how, R"({"tool_calls": [{"name": "list", "arguments": {}}]})"), "list{}");
  EXPECT_EQ(parse(how, "```json\n{\"x\": 1}\n```"), "```json\n{\"x\": 1}\n```");
  EXPECT_EQ(parse(how, "[1, 2]"), "[1, 2]");
  EXPECT_EQ(parse(how, "{\"name\": \"find\""), "{\"name\": \"find\"");
}

TEST(OutputParserTest, Harmony) {
  const auto how = options(CallFormat::kHarmony);
  EXPECT_EQ(parse(how,
                  "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes <|x|> "
                  "no<|return|>"),
            "{Hm.} | Yes <|x|> no");
  EXPECT_EQ(parse(how,
                  "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.find "
                  "<|constrain|>json<|message|>{\"n\": 1}<|call|>"),
            R"({Hm.} | find{"n": 1})");
  EXPECT_EQ(parse(how,
                  "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant "
                  "to=functions.list<|channel|>commentary json<|message|>{}"),
            "I look. | list{}");
  EXPECT_EQ(parse(how, "<|channel|>commentary to=functions.find<|message|>{broken<|call|>"), "{broken");
  EXPECT_EQ(parse(how, "<|channel|>final<|message|>Yes<|ret"), "Yes<|ret");
  EXPECT_EQ(parse(how, "<|channel|>fin"), "");
  const auto parser = OutputParser::make(how);
  parser->push("<|channel|>analysis<|message|>Hm");
  EXPECT_TRUE(parser->in_thinking());
  parser->push("<|end|><|start|>assistant<|channel|>final<|message|>");
  EXPECT_FALSE(parser->in_thinking());
}

TEST(OutputParserTest, AnyMixOfMarksEndsAndLosesNothingThatIsText) {
  const std::vector<std::string> parts = {"<think>",
                                          "</think>",
                                          "<tool_call>",
                                          "</tool_call>",
                                          "{",
                                          "}",
                                          "[",
                                          "]",
                                          "\"",
                                          "name",
                                          "find",
                                          "arguments",
                                          ":",
                                          "\n",
                                          " ",
                                          "\\",
                                          "[TOOL_CALLS]",
                                          "[ARGS]",
                                          "<|channel|>",
                                          "<|message|>",
                                          "<|end|>",
                                          "<function=find>",
                                          "</function>",
                                          "<parameter=n>",
                                          "</parameter>",
                                          "<arg_key>",
                                          "<｜tool▁call▁begin｜>",
                                          "<｜tool▁sep｜>",
                                          "```json\n",
                                          "<|python_tag|>",
                                          "é",
                                          "\xff",
                                          "{\"name\": \"find\", \"arguments\": {}}"};
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    const auto format = static_cast<CallFormat>(random() % 10);
    auto how = options(format, random() % 2 == 0);
    how.starts_in_thinking = how.format.think_begin.empty() ? false : random() % 2 == 0;
    std::string text;
    std::vector<std::string> pieces;
    for (size_t n = random() % 12; n > 0; --n) pieces.push_back(parts[random() % parts.size()]);
    for (const std::string& piece : pieces) text += piece;
    const std::string whole = parse_pieces(how, {text});
    const std::string cut = parse_pieces(how, {pieces.begin(), pieces.end()});
    ASSERT_EQ(cut, whole) << call_format_name(format) << ": " << text;
  }
}

TEST(OutputFormatTest, IsKnownFromTheTemplate) {
  EXPECT_EQ(detect_output_format("… <tool_call> … {%- if '</think>' in content %}").calls, CallFormat::kHermes);
  EXPECT_EQ(detect_output_format("{{ '<think>' }}</think>").think_begin, "<think>");
  EXPECT_EQ(detect_output_format("<tool_call><function=x><parameter=y>").calls, CallFormat::kQwenXml);
  EXPECT_EQ(detect_output_format("<tool_call>x<arg_key>").calls, CallFormat::kGlm);
  EXPECT_EQ(detect_output_format("[TOOL_CALLS] [/THINK]").think_end, "[/THINK]");
  EXPECT_EQ(detect_output_format("[TOOL_CALLS]").calls, CallFormat::kMistral);
  EXPECT_EQ(detect_output_format("<|start|><|channel|>analysis").calls, CallFormat::kHarmony);
  EXPECT_EQ(detect_output_format("<｜tool▁call▁begin｜>```json").calls, CallFormat::kDeepSeekR1);
  EXPECT_EQ(detect_output_format("<｜tool▁call▁begin｜>").calls, CallFormat::kDeepSeekV31);
  EXPECT_EQ(detect_output_format("<|start_header_id|>").calls, CallFormat::kLlama3);
  EXPECT_EQ(detect_output_format("<|im_start|>"), (OutputFormat{CallFormat::kJson, "", ""}));
}

}  // namespace
}  // namespace spillway
