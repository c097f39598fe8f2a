// SPDX-License-Identifier: MIT
// What ChatTemplate makes of templates in Go's language. That the interpreter agrees with Go is check_go_templates.py's
// affair.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <functional>
#include <span>

#include "chat/bounded_text.h"
#include "chat/go_functions.h"
#include "chat/go_parse.h"
#include "chat/go_value.h"
#include "chat/json_text.h"
#include "chat/output_parser.h"
#include "chat/template.h"

namespace spillway {
namespace {

using testing::HasSubstr;

const Message kHi{.role = "user", .content = "hi"};
const Tool kTool{.name = "find", .description = "Finds", .parameters = R"({"type":"object","properties":{}})"};

std::unique_ptr<ChatTemplate> open(const std::string& text) {
  auto opened = ChatTemplate::open({.text = text, .bos_token = "<s>", .eos_token = "</s>"});
  EXPECT_TRUE(opened) << opened.error().message();
  return opened ? std::move(*opened) : nullptr;
}

std::string render(const ChatTemplate& chat, const std::vector<Message>& messages, const std::vector<Tool>& tools = {},
                   const PromptOptions& options = {}) {
  const auto prompt = chat.render(messages, tools, options);
  return prompt ? prompt->text : std::string(code_name(prompt.error().code())) + ": " + prompt.error().message();
}

// In the manner of those that Ollama has for models with tools.
constexpr const char* kTools = R"({{- if .Tools }}<tools>{{ range .Tools }}{{ .Function }}{{ end }}</tools>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- if eq .Role "assistant" }}<a>
{{- if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}
{{- range .ToolCalls }}<tool_call>{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}</tool_call>
{{- end }}</a>
{{- else }}<{{ .Role }}>{{ .Content }}</>
{{- end }}
{{- end }}<a>)";

TEST(GoTemplateTest, AnOlderTemplateIsRunForEachTurnUpToTheAnswer) {
  const auto chat = open("{{ if .System }}S:{{ .System }}\n{{ end }}U:{{ .Prompt }}\nA:{{ .Response }}|\n");
  EXPECT_EQ(render(*chat, {{.role = "system", .content = "s"}, kHi, {.role = "assistant", .content = "yo"}, kHi}),
            "S:s\nU:hi\nA:yo|\nU:hi\nA:");
  EXPECT_TRUE(chat->traits().system_role);
  EXPECT_FALSE(chat->traits().tools);
}

TEST(GoTemplateTest, TextAloneIsFollowedByTheAnswer) {
  const auto chat = open("Once upon a time, ");
  EXPECT_EQ(render(*chat, {kHi}), "Once upon a time, ");
}

TEST(GoTemplateTest, CallsAndThoughtsAreReadAsTheTemplateWritesThem) {
  const auto chat = open(kTools);
  EXPECT_TRUE(chat->traits().tools);
  EXPECT_TRUE(chat->traits().thinking);
  EXPECT_EQ(chat->traits().output.think_begin, "<think>");
  const auto parser = OutputParser::make({.format = chat->traits().output, .tools = {kTool}});
  OutputDelta answer = parser->push("<think>hm</think><tool_call>{\"name\": \"find\", \"arguments\": {}}</tool_call>");
  const OutputDelta rest = parser->finish();
  EXPECT_EQ(answer.thinking + rest.thinking, "hm");
  EXPECT_EQ(answer.content + rest.content, "");
  ASSERT_EQ(answer.tool_calls.size() + rest.tool_calls.size(), 1u);
}

TEST(GoTemplateTest, ATemplateThatShowsThoughtsIsToldToThinkUnlessTheRequestSaysOtherwise) {
  const auto chat = open(
      "{{ range .Messages }}<{{ .Role }}>{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}</>{{ "
      "end }}"
      "<assistant>{{ if .Think }}<think>{{ else if .IsThinkSet }}</think>{{ end }}");
  EXPECT_EQ(render(*chat, {kHi}), "<user>hi</><assistant><think>");
  EXPECT_EQ(render(*chat, {kHi}, {}, {.think = false}), "<user>hi</><assistant></think>");
  EXPECT_TRUE(chat->traits().thinking_switch);
  const auto silent = open("{{ .Prompt }}{{ if .Think }}<think>{{ end }}");
  EXPECT_EQ(render(*silent, {kHi}), "hi");
}

TEST(GoTemplateTest, AListOfCallsHasCommasThoughTheTemplateForgetsThem) {
  const auto chat = open(
      "{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}{{ if .ToolCalls }}[TOOL_CALLS] [{{ range .ToolCalls }}"
      "{\"name\": \"{{ .Function.Name }}\", \"arguments\": {{ .Function.Arguments }}}{{ end }}]</s>{{ else }}[{{ .Role "
      "}}]"
      "{{ .Content }}{{ end }}{{ end }}");
  ASSERT_TRUE(chat->traits().output.calls);
  EXPECT_EQ(chat->traits().output.calls->between, ", ");
  const auto parser = OutputParser::make({.format = chat->traits().output, .tools = {kTool}});
  OutputDelta answer =
      parser->push(R"([TOOL_CALLS] [{"name": "find", "arguments": {}}, {"name": "find", "arguments": {"a": 1}}])");
  const OutputDelta rest = parser->finish();
  EXPECT_EQ(answer.content + rest.content, "");
  EXPECT_EQ(answer.tool_calls.size() + rest.tool_calls.size(), 2u);
}

TEST(GoTemplateTest, AnAnswerIsGoneOnWith) {
  const auto chat = open("{{ range .Messages }}<{{ .Role }}>{{ .Content }}</>{{ end }}<assistant>");
  EXPECT_EQ(render(*chat, {kHi, {.role = "assistant", .content = "half"}}, {}, {.continue_last_message = true}),
            "<user>hi</><assistant>half");
}

TEST(GoTemplateTest, ATemplateThatFillsInWritesWhatStandsAround) {
  const auto chat = open("{{ if .Suffix }}<pre>{{ .Prompt }}<suf>{{ .Suffix }}<mid>{{ else }}{{ .Prompt }}{{ end }}");
  EXPECT_TRUE(chat->traits().fills_in);
  EXPECT_EQ(render(*chat, {kHi}, {}, {.suffix = "end"}), "<pre>hi<suf>end<mid>");
  EXPECT_EQ(render(*chat, {kHi}), "hi");
}

TEST(GoTemplateTest, WhatCannotBeReadIsUnsupportedAndTheLineIsNamed) {
  for (const char* text : {"{{ if }}", "{{ .Prompt", "{{ end }}", "{{ range .Messages }}", "{{ }}",
                           "{{ nosuch .Prompt }}", "{{ .Prompt | }}", "{{ \"open }}", "{{ $x }}",
                           "{{ template \"none\" }}", "{{ else }}", "{{ break }}", "{{ .Prompt }} {{/* open"}) {
    const auto opened = ChatTemplate::open({.text = text});
    ASSERT_FALSE(opened) << text;
    EXPECT_EQ(opened.error().code(), Code::kUnsupported) << text;
    EXPECT_FALSE(opened.error().message().empty());
  }
  const auto late = ChatTemplate::open({.text = "{{ .Prompt }}\ntwo\n{{ nosuch }}"});
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message(), HasSubstr("line 3"));
}

TEST(GoTemplateTest, WhatNeverEndsEndsWithAnError) {
  for (const char* text : {"{{ range 1000000 }}{{ range 1000000 }}{{ end }}{{ end }}{{ .Prompt }}",
                           "{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}{{ .Prompt }}",
                           "{{ range 1000000 }}{{ range 1000 }}0123456789{{ end }}{{ end }}{{ .Prompt }}"}) {
    const auto opened =
        ChatTemplate::open({.text = text, .limits = {.render_s_max = 0.1, .prompt_bytes_max = 1 << 20}});
    ASSERT_FALSE(opened) << text;
    EXPECT_EQ(opened.error().code(), Code::kOutOfBudget) << text << ": " << opened.error().message();
  }
}

// Each block takes from the stack, in each template that calls another.
TEST(GoTemplateTest, BlocksOfTemplatesThatCallEachOtherAreCountedTogether) {
  for (const char* block : {"{{ if .Messages }}", "{{ range $.Messages }}", "{{ with $ }}"}) {
    std::string text = "{{ define \"a\" }}";
    for (int i = 0; i < 80; ++i) text += block;
    text += "{{ template \"a\" $ }}";
    for (int i = 0; i < 80; ++i) text += "{{ end }}";
    const auto opened = ChatTemplate::open({.text = text + "{{ end }}{{ template \"a\" . }}"});
    ASSERT_FALSE(opened) << block;
    EXPECT_EQ(opened.error().code(), Code::kOutOfBudget) << opened.error().message();
    EXPECT_THAT(opened.error().message(), HasSubstr("nested too deeply"));
  }
}

TEST(GoTemplateTest, ManyShortTurnsAreWithinTheBoundOfOne) {
  const auto chat =
      ChatTemplate::open({.text = "{{ .System }}{{ .Prompt }}{{ .Response }}", .limits = {.render_s_max = 0.01}});
  ASSERT_TRUE(chat) << chat.error().message();
  std::vector<Message> messages;
  for (int i = 0; i < 100'000; ++i) messages.push_back({.role = i % 2 == 0 ? "user" : "assistant", .content = "x"});
  const auto prompt = (*chat)->render(messages, {}, {});
  ASSERT_FALSE(prompt);
  EXPECT_EQ(prompt.error().code(), Code::kOutOfBudget);
}

TEST(GoTemplateTest, ToolsThatTheConversationBringsInAreNotListed) {
  const auto chat = open(
      "{{ if .Tools }}{{ len .Tools }}{{ else }}{{ .Tools }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}");
  Tool later = kTool;
  later.in_prompt = false;
  EXPECT_EQ(render(*chat, {kHi}, {kTool, later}), "1hi");
  EXPECT_EQ(render(*chat, {kHi}, {later}), render(*chat, {kHi}));
}

TEST(GoTemplateTest, ToolsOfFarTooManyParametersAreRefused) {
  const auto chat = ChatTemplate::open({.text = "{{ .Tools }}{{ range .Messages }}{{ .Content }}{{ end }}"});
  ASSERT_TRUE(chat);
  std::string parameters = R"({"type":"object","properties":{"a0":{})";
  for (int i = 1; i < 60'000; ++i) parameters += fmt::format(R"(,"a{}":{{}})", i);
  const std::vector<Tool> tools = {{.name = "t", .parameters = parameters + "}}"}};
  const auto prompt = (*chat)->render(std::vector<Message>{{.role = "user", .content = "x"}}, tools, {});
  ASSERT_FALSE(prompt);
  EXPECT_EQ(prompt.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(prompt.error().message(), HasSubstr("more than 50000 parameters"));
}

TEST(GoTemplateTest, WhatComputesMoreTextThanThereIsRoomForEndsWithAnError) {
  const std::string x = "{{ $x := \"0123456789\" }}", end = "{{ .Prompt }}";
  for (const std::string grows :
       {"{{ range 64 }}{{ $x = print $x $x }}{{ end }}", "{{ range 64 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}",
        "{{ range 64 }}{{ $x = html $x $x }}{{ end }}", "{{ range 64 }}{{ $x = printf \"\" $x $x }}{{ end }}",
        "{{ range 64 }}{{ $x = json (print $x $x) }}{{ end }}", "{{ range 64 }}{{ $x = println $x $x }}{{ end }}"}) {
    const auto opened = ChatTemplate::open({.text = x + grows + end});
    ASSERT_FALSE(opened) << grows;
    EXPECT_EQ(opened.error().code(), Code::kOutOfBudget) << grows << ": " << opened.error().message();
  }
  std::string words;
  for (int i = 0; i < 300; ++i) words += " .Prompt";
  EXPECT_FALSE(ChatTemplate::open({.text = "{{ print" + words + " }}"})) << "no command has that many words";
}

// Six bytes of JSON for one of text: the bound is met while it is written, not afterwards.
TEST(GoTemplateTest, NoMoreOfATextIsMadeThanThereIsRoomFor) {
  const GoValue text(std::string(1 << 20, '\x01')), list = GoValue::list(GoList(1 << 16, GoValue(int64_t{1})));
  const auto writes = [](const std::function<void(BoundedText&)>& write) {
    BoundedText out(100);
    write(out);
    EXPECT_TRUE(out.is_full());
    EXPECT_LE(out.text().capacity(), 200u);
  };
  writes([&](BoundedText& out) { text.json(out); });
  writes([&](BoundedText& out) { text.print(out); });
  writes([&](BoundedText& out) { go_quoted(*text.as_text(), out); });
  writes([&](BoundedText& out) { list.json(out); });
  writes([&](BoundedText& out) { list.print(out); });
  for (const char* name : {"json", "html", "print", "println"}) {
    const auto made = call_go_function(name, std::span(&text, 1), 0, 100);
    ASSERT_FALSE(made) << name;
    EXPECT_EQ(made.error().code(), Code::kOutOfBudget) << name;
  }
  for (const char* format : {"%x", "%q", "%s", "%v", "%9s", "%.200s", "%d"}) {
    const std::vector<GoValue> arguments{GoValue(format), text};
    const auto made = call_go_function("printf", arguments, 0, 100);
    ASSERT_FALSE(made) << format;
    EXPECT_EQ(made.error().code(), Code::kOutOfBudget) << format;
  }
}

TEST(GoTemplateTest, ALongTextAsJsonIsThatOfItsPartsTogether) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "a\u00e4\u20ac\U0001F600\xff\xe2\x82";  // the last two are no characters
  text += std::string(9000, '\x80');
  BoundedText out(1 << 20);
  GoValue(text).json(out);
  EXPECT_EQ(out.text(), json_string(text));
}

TEST(GoTemplateTest, ATextThatManyVariablesHoldIsThereOnce) {
  const GoValue text(std::string(100, 'x'));
  const GoValue copy = text;
  EXPECT_EQ(text.as_text(), copy.as_text());
}

TEST(GoTemplateTest, ManyTurnsTogetherAreWithinTheLimitsOfOne) {
  const auto chat = ChatTemplate::open(
      {.text = "{{ .System }}{{ .Prompt }}{{ .Response }}", .limits = {.render_s_max = 2, .prompt_bytes_max = 4000}});
  ASSERT_TRUE(chat) << chat.error().message();
  std::vector<Message> messages;
  for (int i = 0; i < 100; ++i) {
    messages.push_back(kHi);
    messages.push_back({.role = "assistant", .content = std::string(100, 'x')});
  }
  messages.push_back(kHi);
  const auto rendered = (*chat)->render(messages, {}, {});
  ASSERT_FALSE(rendered);
  EXPECT_EQ(rendered.error().code(), Code::kOutOfBudget);
}

TEST(GoTemplateTest, ManyPiecesOneInAnotherAreNoBurden) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "{{ if true }}";
  EXPECT_FALSE(ChatTemplate::open({.text = text}));
  text = "{{ " + std::string(100'000, '(');
  EXPECT_FALSE(ChatTemplate::open({.text = text}));
}

TEST(GoTemplateTest, LinesAreCountedOnFromOneActionToTheNext) {
  std::string text;
  for (int i = 0; i < 80'000; ++i) text += "{{1}}\n";
  EXPECT_TRUE(parse_go_template(text));
  for (const char* last : {"{{ nosuch }}", "{{ .Open", "a\n{{ end }}"}) {
    const auto parsed = parse_go_template(text + last);
    ASSERT_FALSE(parsed) << last;
    EXPECT_THAT(parsed.error().message(), HasSubstr(last[0] == 'a' ? "line 80002: " : "line 80001: ")) << last;
  }
}

TEST(GoTemplateTest, OnlySoManyVariablesAreKnownInOnePlace) {
  std::string declared;
  for (int i = 0; i < 999; ++i) declared += "{{ $v" + std::to_string(i) + " := 1 }}";  // $ itself is one
  EXPECT_TRUE(parse_go_template(declared + "{{ $v998 }}"));
  const std::string all =
      "{{ define \"a\" }}" + declared + "{{ end }}{{ if true }}" + declared + "{{ end }}" + declared;
  EXPECT_TRUE(parse_go_template(all)) << "those of other places are gone";
  const auto one_more = parse_go_template(declared + "\n{{ range $i, $x := .Messages }}{{ end }}");
  ASSERT_FALSE(one_more);
  EXPECT_EQ(one_more.error().code(), Code::kUnsupported);
  EXPECT_EQ(one_more.error().message(), "line 2: too many variables");
}

}  // namespace
}  // namespace spillway
