// SPDX-License-Identifier: MIT
// What a model that must call is held to: the grammar of its format admits what the format's templates show it, the
// parser reads that back, and nothing else is admitted.
#include "chat/answer_grammar.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <random>

#include "chat/gbnf.h"
#include "chat/output_parser.h"
#include "gbnf_matcher.h"
#include "sample_formats.h"

namespace spillway {
namespace {

const std::vector<Tool> kTools = {
    {.name = "find",
     .parameters =
         R"({"type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"}},"required":["text"]})"},
    {.name = "list", .parameters = R"({"type":"object","properties":{}})"}};

bool admits(const std::string& format, std::string_view answer, bool several = true,
            const std::vector<Tool>& tools = kTools) {
  const auto grammar = grammar_of_calls(sample_format(format), tools, several);
  EXPECT_TRUE(grammar) << format;
  return grammar && GbnfMatcher(*grammar).matches(answer);
}

// "find{…} list{…}", as the parser reads the answer.
std::string read_back(const std::string& format, std::string_view answer, const std::vector<Tool>& tools = kTools) {
  const auto parser = OutputParser::make({.format = sample_format(format), .tools = tools});
  OutputDelta all = parser->push(answer);
  OutputDelta rest = parser->finish();
  std::string text = all.content + rest.content;
  for (const OutputDelta* delta : {&all, &rest})
    for (const ToolCall& call : delta->tool_calls) text += (text.empty() ? "" : " ") + call.name + call.arguments;
  return text;
}

struct Case {
  std::string format, one, two;  // two: empty where the format has no way to write that
};
const std::string kFind = R"({"name": "find", "arguments": {"text": "x", "n": 1}})";
const std::string kList = R"({"name": "list", "arguments": {}})";
const Case kCanonical[] = {
    {"json", kFind, ""},
    {"hermes", "<tool_call>\n" + kFind + "\n</tool_call>",
     "<tool_call>\n" + kFind + "\n</tool_call>\n<tool_call>\n" + kList + "\n</tool_call>"},
    {"function",
     "<tool_call>\n<function=find>\n<parameter=text>\nx\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n"
     "</tool_call>",
     "<tool_call>\n<function=find>\n<parameter=text>\nx\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n"
     "</tool_call>\n<tool_call>\n<function=list>\n</function>\n</tool_call>"},
    {"llama3", R"({"name": "find", "parameters": {"text": "x", "n": 1}})", ""},
    {"mistral", "[TOOL_CALLS][" + kFind + "]", "[TOOL_CALLS][" + kFind + ", " + kList + "]"},
    {"ids", R"([TOOL_CALLS]find[CALL_ID]abcdef123[ARGS]{"text": "x", "n": 1})",
     R"([TOOL_CALLS]find[CALL_ID]abcdef123[ARGS]{"text": "x", "n": 1}[TOOL_CALLS]list[CALL_ID]abcdef124[ARGS]{})"},
    {"harmony", R"(<|channel|>commentary to=functions.find <|constrain|>json<|message|>{"text": "x", "n": 1})", ""},
    {"harmony",
     R"(<|channel|>analysis<|message|>Is 1 < 2?<|end|><|start|>assistant to=functions.find<|channel|>commentary json<|message|>{"text": "x", "n": 1})",
     ""},
    {"deepseek fenced",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{\"text\": \"x\", \"n\": "
     "1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{\"text\": \"x\", \"n\": "
     "1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>list\n```json\n{}\n```<｜tool▁call▁end｜>"
     "<｜tool▁calls▁end｜>"},
    {"deepseek",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{\"text\": \"x\", \"n\": "
     "1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{\"text\": \"x\", \"n\": "
     "1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>list<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
    {"lfm2", R"(<|tool_call_start|>[find(text="x", n=1)]<|tool_call_end|>)",
     R"(<|tool_call_start|>[find(text="x", n=1), list()]<|tool_call_end|>)"},
    {"functools", "functools[" + kFind + "]", "functools[" + kFind + ", " + kList + "]"},
    {"glm",
     "<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>x</arg_value>\n<arg_key>n</arg_key>\n<arg_value>1</"
     "arg_value>\n</tool_call>",
     "<tool_call>find\n<arg_key>text</arg_key>\n<arg_value>x</arg_value>\n<arg_key>n</arg_key>\n<arg_value>1</"
     "arg_value>\n</tool_call>\n<tool_call>list\n</tool_call>"},
    {"gemma", R"(<|tool_call>call:find{text:<|"|>x<|"|>,n:1}<tool_call|>)",
     R"(<|tool_call>call:find{text:<|"|>x<|"|>,n:1}<tool_call|><|tool_call>call:list{}<tool_call|>)"},
    {"typed",
     "<calls>\n<invoke name=\"find\">\n<parameter name=\"text\" string=\"true\">x</parameter>\n<parameter name=\"n\" "
     "string=\"false\">1</parameter>\n</invoke>\n</calls>",
     "<calls>\n<invoke name=\"find\">\n<parameter name=\"text\" string=\"true\">x</parameter>\n<parameter name=\"n\" "
     "string=\"false\">1</parameter>\n</invoke>\n<invoke name=\"list\">\n</invoke>\n</calls>"},
    {"nested", "<do><tool:find><text>x</text><n>1</n></tool:find></do>",
     "<do><tool:find><text>x</text><n>1</n></tool:find><tool:list></tool:list></do>"},
    {"recipient", "find\n{\"text\": \"x\", \"n\": 1}", "find\n{\"text\": \"x\", \"n\": 1}>>>list\n{}"},
};

TEST(AnswerGrammarTest, AModelThatDoesNotStopCallingIsStopped) {
  struct Many {
    std::string format, begin, call, between, end;
    std::string text(int n) const {
      std::string all = begin + call;
      for (int i = 1; i < n; ++i) all += between + call;
      return all + end;
    }
  };
  for (const Many& many : {Many{"hermes", "", "<tool_call>\n" + kList + "\n</tool_call>", "\n", ""},
                           Many{"function", "", "<tool_call>\n<function=list>\n</function>\n</tool_call>", "\n", ""},
                           Many{"mistral", "[TOOL_CALLS][", kList, ", ", "]"},
                           Many{"gemma", "", "<|tool_call>call:list{}<tool_call|>", "", ""}}) {
    EXPECT_TRUE(admits(many.format, many.text(16))) << many.format;
    EXPECT_FALSE(admits(many.format, many.text(17))) << many.format;
  }
}

TEST(AnswerGrammarTest, CanonicalCallsAreAdmittedAndReadBack) {
  for (const Case& c : kCanonical) {
    SCOPED_TRACE(c.format + ": " + c.one);
    EXPECT_TRUE(admits(c.format, c.one));
    const std::string one = read_back(c.format, c.one);
    EXPECT_THAT(one, testing::EndsWith(R"(find{"text": "x", "n": 1})"));
    if (c.two.empty()) continue;
    EXPECT_TRUE(admits(c.format, c.two)) << c.two;
    EXPECT_EQ(read_back(c.format, c.two), one + " list{}");
    EXPECT_FALSE(admits(c.format, c.two, false)) << "only one is wanted";
    EXPECT_TRUE(admits(c.format, c.one, false));
  }
}

TEST(AnswerGrammarTest, NothingButCallsIsAdmitted) {
  for (const auto& [format, description] : sample_formats()) {
    SCOPED_TRACE(format);
    if (!description.has_calls()) continue;
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
  for (const auto& [name, format] : sample_formats()) {
    if (!format.has_calls()) continue;
    const GbnfMatcher grammar(*grammar_of_calls(format, kTools, true));
    for (int round = 0; round < 300; ++round) {
      const std::string answer = grammar.sample(random);
      const auto parser = OutputParser::make({.format = format, .tools = kTools});
      const OutputDelta all = parser->push(answer), rest = parser->finish();
      ASSERT_EQ(all.content + rest.content, "") << name << ": " << answer;
      ASSERT_GT(all.tool_calls.size() + rest.tool_calls.size(), 0u) << name << ": " << answer;
    }
  }
}

TEST(AnswerGrammarTest, NoWhiteSpaceIsFree) {
  EXPECT_FALSE(admits("json", R"({"name":"find","arguments":{"text":"x"}})"));
  EXPECT_FALSE(admits("json", R"({"name": "find", "arguments": {"text":  "x"}})"));
  EXPECT_FALSE(admits("json", "{\"name\": \"find\", \"arguments\": {\n\"text\": \"x\"}}"));
  EXPECT_FALSE(admits("hermes", "<tool_call>\n\n" + kList + "\n</tool_call>"));
  OutputFormat tight = sample_format("hermes");
  tight.calls->call =
      std::string(R"({"name":")") + placeholder::kName + R"(","arguments":)" + placeholder::kArguments + "}";
  tight.calls->arguments.spaced = false;
  const auto call = [](const std::string& json) { return "<tool_call>\n" + json + "\n</tool_call>"; };
  GbnfMatcher matcher(*grammar_of_calls(tight, kTools, false));
  EXPECT_TRUE(matcher.matches(call(R"({"name":"find","arguments":{"text":"x","n":1}})")));
  EXPECT_FALSE(matcher.matches(call(R"({"name":"find","arguments":{"text": "x","n":1}})")));
}

TEST(AnswerGrammarTest, WhatNoGrammarCanExpressLeavesTheRestInForce) {
  const std::vector<Tool> tools = {
      {.name = "pick",
       .parameters =
           R"({"type":"object","properties":{"n":{"type":"integer","multipleOf":5,"maximum":9}},"required":["n"],
                         "additionalProperties":false,"propertyNames":{"pattern":"^n"}})"}};
  for (const auto& [name, format] : sample_formats()) {
    if (!format.has_calls()) continue;
    const GbnfMatcher grammar(*grammar_of_calls(format, tools, false));
    std::mt19937 random(7);
    for (int round = 0; round < 20; ++round) {
      const auto parser = OutputParser::make({.format = format, .tools = tools});
      OutputDelta all = parser->push(grammar.sample(random));
      for (ToolCall& call : parser->finish().tool_calls) all.tool_calls.push_back(std::move(call));
      ASSERT_EQ(all.tool_calls.size(), 1u) << name;
      const auto arguments = nlohmann::json::parse(all.tool_calls[0].arguments);
      EXPECT_TRUE(arguments.size() == 1 && arguments["n"].is_number_integer()) << name << arguments.dump();
    }
  }
}

TEST(AnswerGrammarTest, MarkedTextIsAnythingButItsOwnEnd) {
  const auto call = [](std::string_view text) {
    return "<tool_call>\n<function=find>\n<parameter=text>\n" + std::string(text) +
           "\n</parameter>\n</function>\n</tool_call>";
  };
  for (const char* text : {"", "<p>a</p> < </para <</parameter x", "{\"a\": 1}\n\"", "é 😀", "</param</parameter"})
    EXPECT_TRUE(admits("function", call(text))) << text;
  EXPECT_FALSE(admits("function", call("a</parameter>b")));
  EXPECT_EQ(read_back("function", call("<p>12</p>")), R"(find{"text": "<p>12</p>"})");
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
  const auto ok = [&](const std::string& inside) { return admits("glm", call(inside), true, tools); };
  EXPECT_TRUE(ok(argument("kind", "b c") + argument("list", "[1, 2]") + argument("any", "{\"x\": null}")));
  EXPECT_TRUE(ok(argument("kind", "a")));
  EXPECT_TRUE(ok(argument("kind", "a") + argument("odd", "any text")));
  EXPECT_FALSE(ok(argument("kind", "c"))) << "none of the enum";
  EXPECT_FALSE(ok(argument("list", "[1]"))) << "kind is required";
  EXPECT_FALSE(ok(argument("kind", "a") + argument("list", "[true]")));
}

TEST(AnswerGrammarTest, ASchemaThatIsNoneOfObjectsAdmitsAnyObject) {
  for (const char* parameters :
       {"{}", "", R"({"type":"string"})", R"({"type":"object","properties":{"x":{"$ref":"#/nowhere"}}})"}) {
    const std::vector<Tool> tools = {{.name = "t", .parameters = parameters}};
    EXPECT_TRUE(admits("json", R"({"name": "t", "arguments": {"y": [1]}})", true, tools)) << parameters;
    EXPECT_FALSE(admits("json", R"({"name": "t", "arguments": 1})", true, tools)) << parameters;
  }
}

// References make each of them large.
TEST(AnswerGrammarTest, WhatIsDoneForSchemasIsBoundedForAllToolsTogether) {
  std::string chain = R"("$defs":{"d0":{"type":"integer"})";
  for (int i = 1; i < 22; ++i)
    chain += fmt::format(
        R"(,"d{0}":{{"anyOf":[{{"$ref":"#/$defs/d{1}","minimum":1}},{{"$ref":"#/$defs/d{1}","minimum":2}}]}})", i,
        i - 1);
  const std::string parameters =
      R"({"type":"object",)" + chain + R"(},"properties":{"v":{"$ref":"#/$defs/d21","minimum":0}}})";
  const std::vector<Tool> tools(40, {.name = "t", .parameters = parameters});
  EXPECT_TRUE(admits("json", R"({"name": "t", "arguments": {"v": 1}})", true, tools)) << "as any object";
  EXPECT_TRUE(grammar_of_calls(glm_format(), tools, true));
}

// A mark that names its key is as long as the client likes, and rules for text without it a square of that.
TEST(AnswerGrammarTest, ALongNameEndsTextByItsBeginning) {
  const auto of_name = [](const std::string& name) {
    const std::vector<Tool> tools = {
        {.name = "t", .parameters = R"({"type":"object","properties":{")" + name + R"(":{"type":"string"}}})"}};
    return grammar_of_calls(sample_format("nested"), tools, true).value();
  };
  EXPECT_LT(of_name(std::string(100'000, 'k')).size(), 1u << 20);
  const std::string name(300, 'k');
  GbnfMatcher matcher(of_name(name));
  const auto call = [&](const std::string& text) {
    return "<do><tool:t><" + name + ">" + text + "</" + name + "></tool:t></do>";
  };
  EXPECT_TRUE(matcher.matches(call("a</k b</kk>")));
  EXPECT_FALSE(matcher.matches(call("a</" + std::string(250, 'k') + ">")));
}

TEST(AnswerGrammarTest, AlternativesWithinAlternativesAreAskedOnceWhetherTheyAreText) {
  std::string schema = R"({"type":"string"})";
  for (int i = 0; i < 55; ++i) schema = R"({"anyOf":[)" + schema + R"(,{"type":"null"}]})";
  const std::vector<Tool> tools = {{.name = "t", .parameters = R"({"properties":{"v":)" + schema + "}}"}};
  const auto call = [](const std::string& value) {
    return "<tool_call>t\n<arg_key>v</arg_key>\n<arg_value>" + value + "</arg_value>\n</tool_call>";
  };
  EXPECT_TRUE(admits("glm", call("any text"), true, tools));
  EXPECT_EQ(read_back("glm", call("12"), tools), R"(t{"v": "12"})");
}

TEST(AnswerGrammarTest, ToolsThatMakeTooLargeAGrammarAreRefused) {
  std::string properties;
  for (int i = 0; i < 5000; ++i)
    properties += fmt::format(R"({}"{}{}":{{"type":"string"}})", i == 0 ? "" : ",", std::string(50, 'k'), i);
  const std::vector<Tool> tools = {{.name = "t", .parameters = R"({"properties":{)" + properties + "}}"}};
  const auto grammar = grammar_of_calls(sample_format("nested"), tools, true);
  ASSERT_FALSE(grammar);
  EXPECT_EQ(grammar.error().code(), Code::kInvalidArgument);
}

// What a reference leads to is written each time.
TEST(AnswerGrammarTest, WhatIsWrittenOfValuesAgainAndAgainIsBounded) {
  std::string values = "0", references = R"({"$ref":"#/$defs/c"})";
  for (int i = 1; i < 15'000; ++i) values += fmt::format(",{}", i);
  for (int i = 1; i < 10'000; ++i) references += R"(,{"$ref":"#/$defs/c"})";
  for (const std::string& many : {R"({"const":[)" + values + "]}", R"({"enum":[)" + values + "]}",
                                  R"({"properties":{},"required":[)" + values + "]}"}) {
    const std::vector<Tool> tools = {
        {.name = "t",
         .parameters = R"({"$defs":{"c":)" + many + R"(},"properties":{"v":{"anyOf":[)" + references + "]}}}"}};
    const auto grammar = grammar_of_calls(sample_format("nested"), tools, true);
    ASSERT_TRUE(grammar) << grammar.error().message();
    EXPECT_LT(grammar->size(), 4u << 20);
  }
}

TEST(AnswerGrammarTest, ReferencesMeanTheToolTheyStandIn) {
  const auto tool = [](const char* name, const char* type) {
    return Tool{.name = name,
                .parameters = std::string(R"({"type":"object","$defs":{"V":{"type":")") + type +
                              R"("}},"properties":{"v":{"$ref":"#/$defs/V"}},"required":["v"]})"};
  };
  const std::vector<Tool> tools = {tool("a", "integer"), tool("b", "boolean")};
  EXPECT_TRUE(admits("json", R"({"name": "a", "arguments": {"v": 1}})", true, tools));
  EXPECT_TRUE(admits("json", R"({"name": "b", "arguments": {"v": true}})", true, tools));
  EXPECT_FALSE(admits("json", R"({"name": "b", "arguments": {"v": 1}})", true, tools));
}

TEST(AnswerGrammarTest, WithoutToolsOrMarksThereIsNone) {
  EXPECT_EQ(grammar_of_calls(sample_format("hermes"), {}, true).error().code(), Code::kNotFound);
  EXPECT_EQ(grammar_of_calls({}, kTools, true).error().code(), Code::kNotFound);
}

TEST(AnswerGrammarTest, EitherOfTwoGrammarsAdmitsWhatOneOfThemDoes) {
  const std::string schema =
      R"({"type":"object","properties":{"a] \"r0":{"enum":["{r0}","[string]","\\"]},"s":{"type":"string","pattern":"^[a-c\\]]{2,3}$"}},"required":["a] \"r0"]})";
  std::mt19937 random(11);
  for (const auto& [name, format] : sample_formats()) {
    SCOPED_TRACE(name);
    if (!format.has_calls()) continue;
    const std::string of_calls = *grammar_of_calls(format, kTools, true),
                      of_json = *grammar_of_json_answer(format, schema);
    GbnfMatcher calls(of_calls), json(of_json), either(gbnf_either(of_calls, of_json));
    for (int round = 0; round < 10; ++round) {
      EXPECT_TRUE(either.matches(calls.sample(random)));
      EXPECT_TRUE(either.matches(json.sample(random)));
      const std::string answer = either.sample(random);
      EXPECT_TRUE(calls.matches(answer) || json.matches(answer)) << answer;
    }
    for (const char* text : {"", "Hello", "{}"}) EXPECT_FALSE(either.matches(text)) << text;
  }
}

TEST(AnswerGrammarTest, JsonOfHarmonyIsAFinalMessageBehindAThought) {
  const std::string schema = R"({"type":"integer"})";
  const auto admits_json = [&](const char* format, const char* text) {
    return GbnfMatcher(*grammar_of_json_answer(sample_format(format), schema)).matches(text);
  };
  EXPECT_TRUE(admits_json("harmony", "<|channel|>final<|message|>12"));
  EXPECT_TRUE(admits_json("harmony", "<|channel|>final <|constrain|>json<|message|>12"));
  EXPECT_TRUE(admits_json(
      "harmony", "<|channel|>analysis<|message|>A number < 20.<|end|><|start|>assistant<|channel|>final<|message|>12"));
  EXPECT_FALSE(admits_json("harmony", "12"));
  EXPECT_FALSE(admits_json("harmony", "<|channel|>final<|message|>twelve"));
  EXPECT_TRUE(admits_json("hermes", "12"));
  EXPECT_TRUE(admits_json("recipient", "all\n12"));
  EXPECT_FALSE(admits_json("recipient", "12"));
}

}  // namespace
}  // namespace spillway
