// SPDX-License-Identifier: MIT
// Answers above, what becomes of them below. Each is also fed byte by byte and cut in two at every place: the result is
// the same.
#include "chat/output_parser.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

#include "sample_formats.h"

namespace spillway {
namespace {

using testing::HasSubstr;

const std::vector<Tool> kTwoTools = {
    {.name = "find", .parameters = R"({"properties":{"text":{"type":"string"},"n":{"type":"integer"}}})"},
    {.name = "list"}};

ParserOptions options(std::string_view format, bool thinks = false) {
  ParserOptions result{.format = sample_format(format)};
  if (thinks) {
    result.format.think_begin = "<think>";
    result.format.think_end = "</think>";
  }
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
  for (const auto& [name, format] : sample_formats())
    EXPECT_EQ(parse(options(name), " Hello, <b>world</b>\n\n[1] {2} < é 😀 "), " Hello, <b>world</b>\n\n[1] {2} < é 😀 ")
        << name;
}

// What is passed on of an answer that was cut, "…" where a call came last.
std::string parse_cut(const ParserOptions& how, std::string_view text) {
  const auto parser = OutputParser::make(how);
  OutputDelta sum = parser->push(text);
  add(sum, parser->finish(true));
  return show(sum) + (parser->ends_with_call() ? " ..." : "");
}

TEST(OutputParserTest, HalfACallIsNotShownWhereAnAnswerWasCutInIt) {
  const std::string call = "<tool_call>\n{\"name\": \"find\", \"arguments\": {}}\n</tool_call>";
  const ParserOptions hermes = options("hermes");
  for (size_t end = 1; end < call.size() - 13; ++end) {
    EXPECT_EQ(parse_cut(hermes, call.substr(0, end)), "") << end;
    EXPECT_EQ(parse_cut(hermes, "Well: " + call.substr(0, end)), "Well:") << end;
    // "<" alone may still end the first one.
    EXPECT_EQ(parse_cut(hermes, call + "\n" + call.substr(0, end)), end == 1 ? "find{} ..." : "find{}") << end;
  }
  for (size_t end = call.size() - 13; end <= call.size(); ++end)
    EXPECT_EQ(parse_cut(hermes, call.substr(0, end)), "find{} ...") << end << ": the call is whole";
  EXPECT_EQ(parse_cut(hermes, "a < b"), "a < b");
  EXPECT_EQ(parse_cut(options("harmony"), "<|channel|>commentary to=functions.find<|message|>{\"a\""), "");
  EXPECT_EQ(parse_cut(options("function"), "<tool_call>\n<function=find>\n<parameter=te"), "");
}

TEST(OutputParserTest, JsonThatWasCutIsShownUnlessItWasToBeACall) {
  ParserOptions with_schema = options("json");
  EXPECT_EQ(parse_cut(with_schema, "{\"name\": \"An"), "{\"name\": \"An");
  with_schema.calls_are_forced = true;
  EXPECT_EQ(parse_cut(with_schema, "{\"name\": \"fi"), "");
}

TEST(OutputParserTest, AnAnswerThatWasBegunGoesOnAsText) {
  ParserOptions begun = options("hermes", true);
  begun.starts_in_answer = true;
  EXPECT_EQ(parse(begun, "<think> is a tag"), "<think> is a tag");
  EXPECT_EQ(parse(begun, " and so on <tool_call>{\"name\": \"find\", \"arguments\": {}}</tool_call>"),
            " and so on | find{}");
  begun.format = sample_format("harmony");
  EXPECT_EQ(parse(begun, "to= is an assistant"), "to= is an assistant");
  begun.format = sample_format("json");
  EXPECT_EQ(parse(begun, "{\"name\": \"find\", \"arguments\": {}}"), "{\"name\": \"find\", \"arguments\": {}}");
}

TEST(OutputParserTest, TextIsPassedOnAtOnceUnlessItMayBeAMark) {
  const auto parser = OutputParser::make(options("hermes", true));
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
  const auto how = options("hermes", true);
  EXPECT_EQ(parse(how, "<think>\nhm, <b>\n</think>\n\nYes"), "{hm, <b>} | Yes");
  EXPECT_EQ(parse(how, "\n<think></think>Yes"), "Yes");
  EXPECT_EQ(parse(how, "<think>\n\n</think>\n\n<tool_call>{\"name\":\"list\",\"arguments\":{}}</tool_call>"), "list{}");
  EXPECT_EQ(parse(how, "a <think>b</think>"), "a <think>b</think>");
  EXPECT_EQ(parse(how, "<think>cut"), "{cut}");
  EXPECT_EQ(parse(how, "<thin ice"), "<thin ice");
  EXPECT_EQ(parse(how, "<think>a</think><think>b"), "{a} | <think>b");
}

TEST(OutputParserTest, AThoughtThatThePromptOpenedIsThinkingFromTheStart) {
  auto how = options("hermes", true);
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
  const auto how = options("hermes");
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
  const auto how = options("hermes");
  for (const char* text :
       {"<tool_call>not json</tool_call>", "<tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call>",
        "<tool_call>", "a <tool_call>[1, 2]</tool_call> b",
        "<tool_call>{\"name\": \"find\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"find\", \"arguments\": {,}}</tool_call>", "x <tool_"})
    EXPECT_EQ(parse(how, text), text);
}

TEST(OutputParserTest, WithoutToolsMarksAreText) {
  auto how = options("hermes");
  how.tools.clear();
  const std::string text = R"(<tool_call>{"name": "find", "arguments": {}}</tool_call>)";
  EXPECT_EQ(parse(how, text), text);
}

TEST(OutputParserTest, QwenXml) {
  const auto how = options("function");
  EXPECT_EQ(parse(how,
                  "I look.\n<tool_call>\n<function=find>\n<parameter=text>\n12\nline "
                  "\"two\"\n</parameter>\n<parameter=n>\n3\n</parameter>\n</function>\n"
                  "</tool_call>"),
            R"(I look. | find{"text": "12\nline \"two\"", "n": 3})");
  EXPECT_EQ(parse(how, "<function=list>\n</function>"), "list{}");
  EXPECT_EQ(parse(how, "<function=find><parameter=n>{\"a\": [1]}</parameter></function>"), R"(find{"n": {"a": [1]}})");
  EXPECT_EQ(parse(how, "<function=text>12</function>"), "<function=text>12</function>");
  EXPECT_EQ(parse(how, "<function=find><parameter=text>12</parameter></function>"), R"(find{"text": "12"})");
}

// parse() cuts it everywhere: a name is as long as it may be whether what ends it has come or not.
TEST(OutputParserTest, AParametersNameHasTheSameBoundInPieces) {
  const auto how = options("function");
  for (const size_t bytes : {254u, 255u, 256u, 257u, 258u}) {
    const std::string text =
        "<function=find>\n<parameter=" + std::string(bytes, 'k') + ">\n1\n</parameter>\n</function>";
    EXPECT_EQ(parse(how, text).starts_with("find{"), bytes <= 256) << bytes;
  }
}

TEST(OutputParserTest, Llama3) {
  const auto how = options("llama3");
  EXPECT_EQ(parse(how, R"({"name": "find", "parameters": {"n": 1}})"), R"(find{"n": 1})");
  EXPECT_EQ(
      parse(
          how,
          R"(<|python_tag|>{"type": "function", "name": "find", "parameters": {}}; {"name": "list", "parameters": {}}<|eom_id|>)"),
      "find{} | list{}");
  // The fence comes in pieces, too.
  EXPECT_EQ(parse(how, "<|python_tag|>```json\n{\"name\": \"list\", \"parameters\": {}}\n```"), "list{}");
  EXPECT_EQ(parse(how, "<|python_tag|>```js"), "<|python_tag|>```js");
  EXPECT_EQ(parse(how, R"({"answer": "find", "parameters": {}})"), R"({"answer": "find", "parameters": {}})");
  EXPECT_EQ(parse(how, R"(See {"name": "find", "parameters": {}})"), R"(See {"name": "find", "parameters": {}})");
}

TEST(OutputParserTest, JsonThatIsNoCallIsPassedOnWithItsFirstKey) {
  const auto parser = OutputParser::make(options("llama3"));
  EXPECT_EQ(parser->push("{\"").content, "");
  EXPECT_EQ(parser->push("answer\": 1, \"a").content, "{\"answer\": 1, \"a");
}

TEST(OutputParserTest, Mistral) {
  const auto list = options("mistral");
  EXPECT_EQ(
      parse(
          list,
          R"([TOOL_CALLS][{"name": "find", "arguments": {"n": 1}}, {"name": "list", "arguments": {}, "id": "abcdef123"}])"),
      R"(find{"n": 1} | list{})");
  EXPECT_EQ(parse(list, "[TOOL_CALLS] nothing"), "[TOOL_CALLS] nothing");
  EXPECT_EQ(parse(list, R"([TOOL_CALLS][{"name": "other", "arguments": {}}])"),
            R"([TOOL_CALLS][{"name": "other", "arguments": {}}])");
  const auto ids = options("ids");
  EXPECT_EQ(parse(ids, R"(So:[TOOL_CALLS]find[CALL_ID]abcdef123[ARGS]{"n": 1}[TOOL_CALLS]list[CALL_ID]123[ARGS]{})"),
            R"(So: | find{"n": 1} | list{})");
  EXPECT_EQ(parse(ids, R"([TOOL_CALLS]finder[CALL_ID]1[ARGS]{})"), R"([TOOL_CALLS]finder[CALL_ID]1[ARGS]{})");
}

TEST(OutputParserTest, DeepSeek) {
  EXPECT_EQ(
      parse(options("deepseek fenced"),
            "Well\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{\"n\": "
            "1}\n```<｜tool▁call▁end｜>\n"
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
      R"(Well | find{"n": 1} | list{})");
  const auto how = options("deepseek", true);
  EXPECT_EQ(parse(how,
                  "<think>a</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{\"n\": "
                  "1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"),
            R"({a} | find{"n": 1})");
  EXPECT_EQ(parse(how, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>other<｜tool▁sep｜>{}"),
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>other<｜tool▁sep｜>{}");
}

TEST(OutputParserTest, Glm) {
  const auto how = options("glm", true);
  EXPECT_EQ(parse(how,
                  "\n<think>so</think>\nOk\n<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>12</"
                  "arg_value>\n<arg_key>n</arg_key>\n"
                  "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>list\n</tool_call>"),
            R"({so} | Ok | find{"text": "12", "n": 3} | list{})");
  EXPECT_EQ(parse(how, "<tool_call>other\n</tool_call>"), "<tool_call>other\n</tool_call>");
}

TEST(OutputParserTest, Json) {
  const auto how = options("json");
  EXPECT_EQ(parse(how, "```json\n{\"name\": \"find\", \"arguments\": {}}\n```"), "find{}");
  EXPECT_EQ(parse(how, R"([{"type": "function", "function": {"name": "find", "arguments": {"n": 1}}}])"),
            R"(find{"n": 1})");
  EXPECT_EQ(parse(how, R"({"tool_calls": [{"name": "list", "arguments": {}}]})"), "list{}");
  EXPECT_EQ(parse(how, "```json\n{\"x\": 1}\n```"), "```json\n{\"x\": 1}\n```");
  EXPECT_EQ(parse(how, "[1, 2]"), "[1, 2]");
  EXPECT_EQ(parse(how, "{\"name\": \"fin"), "{\"name\": \"fin");
}

TEST(OutputParserTest, PythonCalls) {
  const auto how = options("lfm2");
  const auto call = [](const std::string& inside) { return "<|tool_call_start|>[" + inside + "]<|tool_call_end|>"; };
  EXPECT_EQ(parse(how, "I look." + call(R"(find(text='a "b"', n=-1.5), list())") + " Done"),
            R"(I look.Done | find{"text": "a \"b\"", "n": -1.5} | list{})");
  EXPECT_EQ(parse(how, call(R"(find(text="it's, n=2) \"x\"\n", n=[1, {'a': None, "b": (True,)}]))")),
            R"(find{"text": "it's, n=2) \"x\"\n", "n": [1, {"a": null, "b": [true]}]})");
  EXPECT_EQ(parse(how, call("find(text=forgot the quotes, n='3')")), R"(find{"text": "forgot the quotes", "n": 3})");
  EXPECT_EQ(parse(how, call("other(n=1)")), call("other(n=1)"));
  EXPECT_EQ(parse(how, "Call [list()] so"), "Call [list()] so");
}

TEST(OutputParserTest, ValuesBetweenMarksOfTheirOwn) {
  const auto how = options("gemma");
  EXPECT_EQ(parse(how, R"(<|tool_call>call:find{text:<|"|>a "b", {c}<|"|>,n:{x:[1,<|"|>y<|"|>],z:true}}<tool_call|>)"),
            R"(find{"text": "a \"b\", {c}", "n": {"x": [1, "y"], "z": true}})");
  EXPECT_EQ(parse(how, "So<|tool_call>call:list{}<tool_call|><|tool_call>call:find{n:2}<tool_call|>"),
            R"(So | list{} | find{"n": 2})");
  EXPECT_EQ(parse(how, "<|tool_call>call:other{}<tool_call|>"), "<|tool_call>call:other{}<tool_call|>");
}

TEST(OutputParserTest, MarksTellTheTypeOfAValue) {
  EXPECT_EQ(parse(options("typed"),
                  "<calls>\n<invoke name=\"find\">\n<parameter name=\"text\" string=\"true\">12 </parameter> "
                  "\"x\"</parameter>\n<parameter name=\"n\" string=\"false\">[1, {\"a\": 2}]</parameter>\n</invoke>\n"
                  "<invoke name=\"list\">\n</invoke>\n</calls>"),
            R"(find{"text": "12 </parameter> \"x\"", "n": [1, {"a": 2}]} | list{})");
}

TEST(OutputParserTest, ObjectsWithinMarks) {
  EXPECT_EQ(parse(options("nested"),
                  "<do><tool:find><text>a <b>c</b></text><n><a><item>1</item><item>x</item></a><c><d>true</d></c></n>"
                  "</tool:find></do>"),
            R"(find{"text": "a <b>c</b>", "n": {"a":[1,"x"],"c":{"d":true}}})");
}

TEST(OutputParserTest, WithinMarksTheSchemaTellsTextFromOtherValues) {
  ParserOptions how = options("nested");
  how.tools = {{.name = "find", .parameters = R"({"type":"object","properties":{"o":{"type":"object","properties":{
                    "version":{"type":"string"},"list":{"type":"array","items":{"$ref":"#/$defs/name"}},
                    "none":{"type":"array"},"n":{"type":"number"}}}},"$defs":{"name":{"type":"string"}}})"}};
  EXPECT_EQ(parse(how,
                  "<do><tool:find><o><version>1.10</version><list><item>true</item></list><none></none><n>2</n>"
                  "<more>3</more></o></tool:find></do>"),
            R"(find{"o": {"version":"1.10","list":["true"],"none":[],"n":2,"more":3}})");
}

TEST(OutputParserTest, ReferencesOfASchemaTellWhatAValueIs) {
  ParserOptions how = options("nested");
  how.tools = {{.name = "t",
                .parameters = R"({"$defs":{"N":{"type":"object","properties":{"n":{"type":"string"},"m":{}}}},)"
                              R"("properties":{"v":{"$ref":"#/$defs/N"},"w":{"$ref":"#/properties/v"}}})"}};
  EXPECT_EQ(parse(how, "<do><tool:t><v><n>1</n><m>2</m></v><w><n>3</n></w></tool:t></do>"),
            R"(t{"v": {"n":"1","m":2}, "w": {"n":"3"}})");
}

TEST(OutputParserTest, APropertyMayDefineWhatItRefersTo) {
  ParserOptions how = options("nested");
  how.tools = {{.name = "t",
                .parameters = R"({"properties":{"v":{"$ref":"#/$defs/N",)"
                              R"("$defs":{"N":{"type":"object","properties":{"n":{"type":"string"}}}}}}})"}};
  EXPECT_EQ(parse(how, "<do><tool:t><v><n>1</n></v></tool:t></do>"), R"(t{"v": {"n":"1"}})");
}

TEST(OutputParserTest, TextMayHaveAMarkOfItsOwn) {
  const auto how = options("recipient");
  EXPECT_EQ(parse(how, "all\nI look.>>>find\n{\"n\": 1}>>>list\n{}"), R"(I look. | find{"n": 1} | list{})");
  EXPECT_EQ(parse(how, "list\n{}"), "list{}");
  EXPECT_EQ(parse(how, "all\nlist\n{}"), "list\n{}");
  auto response = options("hermes");
  response.format.text_begin = "<|START|>";
  response.format.text_ends = {"<|END|>"};
  EXPECT_EQ(parse(response, "<|START|>Hello<|END|>"), "Hello");
  EXPECT_EQ(parse(response, "Hello"), "Hello");
}

TEST(OutputParserTest, ACallThatIsCutLeavesNoMarksBehind) {
  for (const char* text : {"I look.<tool_call>\n<function=find>\n<parameter=text>\nab",
                           "I look.<tool_call>\n<function=find>\n", "I look.<tool_call>\n<function=list>\n</func"})
    EXPECT_EQ(parse(options("function"), text), "I look.") << text;
  EXPECT_EQ(parse(options("hermes"), "I look.<tool_call>{\"name\": \"find\", \"arguments\": {\"te"), "I look.");
  EXPECT_EQ(parse(options("json"), "{\"name\": \"find\", \"argu"), "");
  EXPECT_EQ(parse(options("glm"), "<tool_call>list\n</tool_call><tool_call>find\n<arg_key>te"), "list{}");
}

TEST(OutputParserTest, Harmony) {
  const auto how = options("harmony");
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
                                          "<|tool_call_start|>[",
                                          "find(n=",
                                          ")",
                                          ", ",
                                          "]<|tool_call_end|>",
                                          "<|tool_call>call:find{",
                                          "n:",
                                          "<|\"|>",
                                          "}<tool_call|>",
                                          "<calls>",
                                          "<invoke name=\"find\">",
                                          "<parameter name=\"n\" string=\"true\">",
                                          "</invoke>",
                                          "<do><tool:find>",
                                          "<n>",
                                          "</n>",
                                          "</tool:find>",
                                          "[CALL_ID]",
                                          ">>>",
                                          "all\n",
                                          "é",
                                          "\xff",
                                          "{\"name\": \"find\", \"arguments\": {}}"};
  std::mt19937 random(7);
  const auto formats = sample_formats();
  for (int round = 0; round < 6000; ++round) {
    const std::string name = formats[random() % formats.size()].first;
    auto how = options(name, random() % 2 == 0);
    how.starts_in_thinking = how.format.think_begin.empty() ? false : random() % 2 == 0;
    std::string text;
    std::vector<std::string> pieces;
    for (size_t n = random() % 12; n > 0; --n) pieces.push_back(parts[random() % parts.size()]);
    for (const std::string& piece : pieces) text += piece;
    const std::string whole = parse_pieces(how, {text});
    const std::string cut = parse_pieces(how, {pieces.begin(), pieces.end()});
    ASSERT_EQ(cut, whole) << name << ": " << text;
  }
}

}  // namespace
}  // namespace spillway
