// SPDX-License-Identifier: MIT
// What ChatTemplate makes of templates and conversations. That the interpreter agrees with jinja2 is
// check_templates.py's affair.
#include "chat/template.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <thread>

namespace spillway {
namespace {

using testing::HasSubstr;

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

const Message kHi{.role = "user", .content = "hi"};
const Message kGo{.role = "user", .content = "go"};
const Tool kTool{.name = "find", .description = "Finds", .parameters = R"({"type":"object","1":2,"0":1.0})"};

constexpr const char* kChatMl = R"({%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %})";

TEST(ChatTemplateTest, RendersAConversation) {
  const auto chat = open(kChatMl);
  EXPECT_EQ(render(*chat, {{.role = "system", .content = "s"}, kHi}),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render(*chat, {kHi}, {}, {.add_generation_prompt = false}), "<|im_start|>user\nhi<|im_end|>\n");
  EXPECT_TRUE(chat->traits().system_role);
  EXPECT_FALSE(chat->traits().tools);
  EXPECT_FALSE(chat->traits().thinking);
}

TEST(ChatTemplateTest, TextThatIsNoTemplateIsUnsupported) {
  for (const char* text :
       {"{% if x %}", "{{ 1 +", "{% endfor %}", "{% if x %}{# open", "{% unknown %}", "{{ 'open }}", ""}) {
    const auto opened = ChatTemplate::open({.text = text});
    ASSERT_FALSE(opened) << text;
    EXPECT_EQ(opened.error().code(), Code::kUnsupported) << text;
  }
}

TEST(ChatTemplateTest, ARefusalIsTheTemplatesOwnSentence) {
  const auto chat =
      open("{% if messages|length > 1 %}{{ raise_exception('one at a time') }}{% endif %}{{ messages[0].content }}");
  EXPECT_EQ(render(*chat, {kHi}), "hi");
  EXPECT_EQ(render(*chat, {kHi, {.role = "assistant", .content = "a"}, kHi}), "invalid argument: one at a time");
}

// They are shown on terminals and in logs.
TEST(ChatTemplateTest, WhatATemplateSaysIsOneShortLineWithoutControls) {
  const auto expect_line = [](const std::string& message) {
    EXPECT_LT(message.size(), 300u);
    for (const char c : message) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << message;
  };
  const auto chat = open(
      "{{ messages[0].content }}{% if messages|length > 1 %}"
      "{{ raise_exception('\x1b]0;mine\x07' + 'a\n' * 10000) }}{% endif %}");
  const std::string refused = render(*chat, {kHi, kHi});
  EXPECT_THAT(refused, HasSubstr("]0;mine"));
  expect_line(refused);
  for (const std::string& text : {std::string("{% if x %}{% \x1b[31munknown %}"),
                                  "{% " + std::string(20'000, 'a') + " %}", std::string("{{ .Prompt }}{{ \x1b[31m }}"),
                                  "{{ .Prompt }}{{ template \"\x1b[31m" + std::string(20'000, 'a') + "\" }}"}) {
    const auto opened = ChatTemplate::open({.text = text});
    ASSERT_FALSE(opened);
    expect_line(opened.error().message());
  }
}

TEST(ChatTemplateTest, AFailureNamesItsCause) {
  const auto chat = open("{{ messages[0].content }}{% if messages|length > 1 %}{{ nothing.inside }}{% endif %}");
  EXPECT_THAT(render(*chat, {kHi, kHi}), HasSubstr("'nothing' is undefined"));
}

TEST(ChatTemplateTest, ATemplateThatLoopsForEverEndsWithAnError) {
  const auto opened =
      ChatTemplate::open({.text = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                          .limits = {.render_s_max = 0.1}});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(opened.error().message(), HasSubstr("ran for more than 0.1 s"));
}

// What it costs to look at it is paid once: the second is not even begun, which would end at once.
TEST(ChatTemplateTest, ATemplateThatWasStoppedWhileItWasLookedAtStaysRefused) {
  const std::string text =
      "{% if bos_token == 'slow' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
      "{% endif %}{{ messages[0].content }}";
  const auto opened = [&](const char* bos, double seconds_max) {
    const auto chat = ChatTemplate::open({.text = text, .bos_token = bos, .limits = {.render_s_max = seconds_max}});
    return chat ? "opened" : code_name(chat.error().code());
  };
  EXPECT_STREQ(opened("quick", 0.1), "opened");
  EXPECT_STREQ(opened("slow", 0.1), code_name(Code::kOutOfBudget));
  EXPECT_STREQ(opened("quick", 0.1), code_name(Code::kOutOfBudget));
  EXPECT_STREQ(opened("quick", 0.5), "opened") << "within other limits it is another one";
}

TEST(ChatTemplateTest, ATemplateThatIsSlowAgainAndAgainIsRefused) {
  const auto opened = ChatTemplate::open(
      {.text = "{% for a in range(5) %}{% for b in range(1000) %}{% endfor %}{% endfor %}{{ messages[0].content }}",
       .limits = {.render_s_max = 60, .looks_s_max = 0.3}});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(opened.error().message(), HasSubstr("took more than 0.3 s to find out"));
}

// What they write is looked through for marks by this process, which nothing stops.
TEST(ChatTemplateTest, WhatATemplateWritesOfACallIsLookedThroughInTimeHoweverItLooks) {
  const auto opened = [](const std::string& of_call, const std::string& behind = "") {
    return ChatTemplate::open(
        {.text =
             "{%- macro show(v) -%}{%- if v is mapping -%}{%- for k, x in v.items() -%}<{{ k }}>{{ show(x) }}"
             "</{{ k }}>{%- endfor -%}{%- elif v is iterable and v is not string -%}[{%- for x in v -%}{{ show(x) }}"
             "{%- endfor -%}]{%- else -%}{{ v }}{%- endif -%}{%- endmacro -%}"
             "{%- if tools -%}{{ tools|tojson }}{%- endif -%}"
             "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}"
             "{%- for call in m.tool_calls or [] -%}" +
             of_call +
             "{%- endfor -%}<|im_end|>\n{%- endfor -%}"
             "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}" +
             behind});
  };
  const std::string name = "{{ call.function.name }}", arguments = "{{ call.function.arguments|tojson }}";
  const auto lists = opened("<do:" + name + ">{{ show(call.function.arguments) }}</do:" + name + ">");
  ASSERT_TRUE(lists) << "whose elements nothing stands between: any number of them are none";
  EXPECT_TRUE((*lists)->traits().output.calls);
  const auto usual = opened("<do>" + name + " " + arguments + "</do>");
  ASSERT_TRUE(usual);
  EXPECT_TRUE((*usual)->traits().output.calls);
  EXPECT_TRUE(opened("{{ '{' * 50000 }}<do>" + name + " " + arguments + "</do>"));
  EXPECT_TRUE(opened("{{ '{' * 3000000 }}<do>" + name + " " + arguments + "</do>"));
  const auto apart = opened("<do>" + name + "{{ ' x' * 50000 }}" + arguments + "</do>");
  ASSERT_TRUE(apart);
  EXPECT_FALSE((*apart)->traits().output.calls) << "a grammar repeats it for each tool";
  std::string closes;
  for (int i = 0; i < 400'000; ++i) closes += "</";
  EXPECT_TRUE(opened("<do>" + name + " " + arguments + "</do>", closes));
}

// As many as models have names, and each keeps a process.
TEST(ChatTemplateTest, TemplatesThatAreNotUsedKeepNoInterpreterAndRenderAllTheSame) {
  std::vector<std::unique_ptr<ChatTemplate>> all;
  for (int i = 0; i < 40; ++i) {
    auto chat = ChatTemplate::open({.text = fmt::format("{{{{ messages[0].content }}}} {}", i)});
    ASSERT_TRUE(chat);
    all.push_back(std::move(*chat));
  }
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(render(*all[i], {kHi}), fmt::format("hi {}", i));
}

TEST(ChatTemplateTest, AConversationThatTakesTooLongCondemnsNoTemplate) {
  const TemplateOptions options{.text =
                                    "{{ messages[0].content }}{% if messages|length > 50 %}{% for a in range(99999) %}"
                                    "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}",
                                .limits = {.render_s_max = 0.1}};
  const auto chat = ChatTemplate::open(options);
  ASSERT_TRUE(chat);
  const auto prompt = (*chat)->render(std::vector<Message>(60, kHi), {}, {});
  ASSERT_FALSE(prompt);
  EXPECT_EQ(prompt.error().code(), Code::kOutOfBudget);
  EXPECT_EQ(render(**chat, {kHi}), "hi");
  EXPECT_TRUE(ChatTemplate::open(options));
}

TEST(ChatTemplateTest, ATemplateThatEatsMemoryEndsWithAnErrorAndLivesOn) {
  const auto chat = ChatTemplate::open(
      {.text = "{{ messages[0].content }}{% if messages[0].content == 'go' %}{% set ns = namespace(x='0123456789') %}"
               "{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x ~ i %}{{ ns.x }}{% endfor %}{% endif %}",
       .limits = {.memory_bytes_max = 64ull << 20}});
  ASSERT_TRUE(chat);
  const auto prompt = (*chat)->render(std::vector{kGo}, {}, {});
  ASSERT_FALSE(prompt);
  EXPECT_EQ(prompt.error().code(), Code::kOutOfBudget) << prompt.error().message();
  EXPECT_EQ(render(**chat, {kHi}), "hi");
}

TEST(ChatTemplateTest, AMacroThatCallsItselfForEverEndsWithAnError) {
  const auto chat = open(
      "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ messages[0].content }}{% if messages[0].content == 'go' %}{{ "
      "m(0) }}{% "
      "endif %}");
  const auto prompt = chat->render(std::vector{kGo}, {}, {});
  ASSERT_FALSE(prompt);
  EXPECT_EQ(prompt.error().code(), Code::kOutOfBudget) << prompt.error().message();
  EXPECT_EQ(render(*chat, {kHi}), "hi");
}

TEST(ChatTemplateTest, ATemplateReachesNothingOfTheProgram) {
  const auto chat = open(
      "{{ messages[0].content }}{{ globalThis is defined }}{{ ''.constructor is defined }}{{ {}.__proto__ is defined }}"
      "{{ spillwayRender is defined }}{{ messages.__class__ is defined }}");
  EXPECT_EQ(render(*chat, {kHi}), "hiFalseFalseFalseFalseFalse");
}

TEST(ChatTemplateTest, ToolsKeepTheOrderOfTheirKeysAndTheSpellingOfTheirNumbers) {
  const auto chat = open(
      "{% for t in tools or [] %}{{ t.function.parameters | tojson }}{% endfor %}{{ messages[0].content }}{{ tools and "
      "tools[0].function.name }}");
  EXPECT_FALSE(chat->traits().tools) << "it does not show how one is called";
  EXPECT_EQ(render(*chat, {kHi}, {kTool}), R"({"type": "object", "1": 2, "0": 1.0}hifind)");
}

TEST(ChatTemplateTest, AParameterWithoutADescriptionIsNoFailure) {
  const auto chat = open(
      "{% for t in tools or [] %}{% for name, p in t.function.parameters.properties.items() %}{{ name ~ ': ' ~ "
      "p.description | trim }};{% endfor %}{% endfor %}{{ messages[0].content }}");
  EXPECT_EQ(render(*chat, {kHi},
                   {{.name = "t", .parameters = R"({"properties":{"a":{"type":"string"},"b":{"description":"B"}}})"}}),
            "a: ;b: B;hi");
}

TEST(ChatTemplateTest, WhatIsNotJsonIsRefusedByName) {
  const auto chat = open(kChatMl);
  EXPECT_EQ(render(*chat, {kHi}, {{.name = "t", .parameters = "[1]"}}),
            "invalid argument: the parameters of the tool t must be a JSON object");
  EXPECT_THAT(render(*chat, {{.role = "assistant", .tool_calls = {{.name = "f", .arguments = "{"}}}}),
              HasSubstr("the call of f"));
  EXPECT_THAT(render(*chat, {kHi}, {}, {.variables = "nope"}), HasSubstr("must be a JSON object"));
}

TEST(ChatTemplateTest, WithoutASystemRoleItStandsBeforeTheFirstUserMessage) {
  const auto chat = open(
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
      "[{{ m.role }}]{{ m.content }}{% endfor %}");
  EXPECT_FALSE(chat->traits().system_role);
  EXPECT_EQ(render(*chat, {{.role = "system", .content = "s"}, kHi}), "[user]s\n\nhi");
  EXPECT_EQ(render(*chat, {{.role = "system", .content = "s"}}), "[user]s");
}

const Message kCalls{.role = "assistant", .tool_calls = {{.id = "call_1", .name = "find", .arguments = R"({"a": 1})"}}};

TEST(ChatTemplateTest, ArgumentsAreAnObjectOrTextAsTheTemplateWantsThem) {
  const std::string each = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}";
  const auto object = open(each + "{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}");
  EXPECT_EQ(render(*object, {kHi, kCalls}), R"(hifind{"a": 1})");
  const auto text = open(each + "{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}");
  EXPECT_EQ(render(*text, {kHi, kCalls}), R"(hifind{"a": 1})");
  EXPECT_TRUE(text->traits().tools);
}

TEST(ChatTemplateTest, ACallWithoutContentMayHaveToBeNone) {
  const auto chat = open(
      "{% for m in messages %}{% if m.content is none %}{{ m.tool_calls[0].function.name }}"
      "{{ m.tool_calls[0].function.arguments | tojson }}{% else %}{{ m.content }}{% endif %}{% endfor %}");
  EXPECT_EQ(render(*chat, {kHi, kCalls}), R"(hifind{"a": 1})");
}

TEST(ChatTemplateTest, IdsAreShortenedWhereTheTemplateCountsThem) {
  const auto chat = open(
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}{{ raise_exception('nine') "
      "}}{% endif %}"
      "{{ c.id }}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{{ m.tool_call_id }}{{ m.content "
      "}}{% endfor %}");
  const std::string text = render(*chat, {kHi, kCalls, {.role = "tool", .content = "!", .tool_call_id = "call_1"}});
  ASSERT_EQ(text.size(), 2u + 9 + 4 + 8 + 9 + 1) << text;
  EXPECT_EQ(text.substr(2, 9), text.substr(text.size() - 10, 9));
}

// The prompt that goes on with the last message; "<" behind it where that is a thought, ">" where it is the answer.
std::string continued(const ChatTemplate& chat, const std::vector<Message>& messages, const PromptOptions& how = {}) {
  PromptOptions options = how;
  options.continue_last_message = true;
  const auto prompt = chat.render(messages, {}, options);
  if (!prompt) return prompt.error().message();
  return prompt->text + (prompt->opens_thinking ? "<" : "") + (prompt->within_answer ? ">" : "");
}

TEST(ChatTemplateTest, AMessageThatIsNotFinishedIsGoneOnWith) {
  const auto chat = open(kChatMl);
  const Message begun{.role = "assistant", .content = "The answer is "};
  EXPECT_EQ(continued(*chat, {kHi, begun}), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nThe answer is >");
  EXPECT_EQ(continued(*chat, {kHi}), render(*chat, {kHi})) << "nobody began one";
  EXPECT_EQ(continued(*chat, {kHi, {.role = "assistant"}}), render(*chat, {kHi, {.role = "assistant"}}));
  const Message calls{.role = "assistant", .content = "", .tool_calls = {{.id = "1", .name = "find"}}};
  EXPECT_EQ(continued(*chat, {kHi, calls}), render(*chat, {kHi, calls})) << "a call is complete";
}

TEST(ChatTemplateTest, WhatATemplateDoesToATextIsDoneToOneThatIsNotFinished) {
  const auto trims = open(
      "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}[end]{% endfor %}"
      "{% if add_generation_prompt %}[assistant]{% endif %}");
  EXPECT_EQ(continued(*trims, {kHi, {.role = "assistant", .content = " so "}}), "[user]hi[end][assistant]so >");
  const auto channels = open(
      "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final"
      "{% endif %}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant");
  EXPECT_EQ(continued(*channels, {kHi, {.role = "assistant", .content = "so"}}),
            "<|start|>user<|message|>hi<|end|><|start|>assistant<|channel|>final<|message|>so>");
}

TEST(ChatTemplateTest, AThoughtThatIsNotFinishedIsGoneOnWith) {
  const auto chat = open(
      "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
      "{% endif %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]<think>{% endif %}");
  EXPECT_EQ(continued(*chat, {kHi, {.role = "assistant", .content = "", .thinking = "so far"}}),
            "[user]hi[assistant]<think>so far<");
  EXPECT_EQ(continued(*chat, {kHi, {.role = "assistant", .content = "It", .thinking = "so"}}),
            "[user]hi[assistant]<think>so</think>It>");
}

TEST(ChatTemplateTest, WhereATemplateDropsTheLastMessageItsPromptForAnAnswerIsGoneOnWith) {
  const auto chat = open(
      "{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}"
      "{% if add_generation_prompt %}[assistant]<think>{% endif %}{# </think> #}");
  EXPECT_EQ(continued(*chat, {kHi, {.role = "assistant", .content = "It", .thinking = "so"}}),
            "[hi][assistant]<think>so\n</think>\n\nIt>");
  EXPECT_EQ(continued(*chat, {kHi, {.role = "assistant", .content = "", .thinking = "so"}}),
            "[hi][assistant]<think>so<");
}

TEST(ChatTemplateTest, ToolsThatTheConversationBringsInAreNotListed) {
  const auto chat = open(
      "{% if tools %}{{ tools | length }}{% else %}none{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}");
  Tool later = kTool;
  later.in_prompt = false;
  EXPECT_EQ(render(*chat, {kHi}, {kTool, later}), "1hi");
  EXPECT_EQ(render(*chat, {kHi}, {later}), "nonehi");
}

TEST(ChatTemplateTest, ContentIsAListWhereTheTemplateReadsParts) {
  const auto chat = open("{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}");
  EXPECT_EQ(render(*chat, {kHi}), "hi");
}

TEST(ChatTemplateTest, ThinkingCanBeSwitchedAndAnOpenThoughtIsSeen) {
  const auto chat = open(
      "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>"
      "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% else %}<think>\n{% "
      "endif %}{% endif %}");
  EXPECT_TRUE(chat->traits().thinking);
  EXPECT_TRUE(chat->traits().thinking_switch);
  EXPECT_FALSE(chat->traits().reasoning_effort);
  EXPECT_TRUE(chat->render(std::vector{kHi}, {}, {})->opens_thinking);
  const auto off = chat->render(std::vector{kHi}, {}, {.think = false});
  EXPECT_FALSE(off->opens_thinking);
  EXPECT_EQ(off->text, "hi<a><think>\n\n</think>\n\n");
}

TEST(ChatTemplateTest, VariablesOfTheCallerWin) {
  const auto chat = open("{{ messages[0].content }}{{ bos_token }}{{ reasoning_effort }}{{ mine }}");
  EXPECT_TRUE(chat->traits().reasoning_effort);
  EXPECT_EQ(render(*chat, {kHi}, {}, {.reasoning_effort = "low", .variables = R"( {"bos_token": "B", "mine": [1]} )"}),
            "hiBlow[1]");
}

TEST(ChatTemplateTest, InvalidUtf8AndHugeMessagesPass) {
  const auto chat = open("{{ messages[0].content }}");
  EXPECT_EQ(render(*chat, {{.role = "user", .content = "a\xff\"b\\"}}), "a\uFFFD\"b\\");
  const std::string huge(4 << 20, 'x');
  EXPECT_EQ(render(*chat, {{.role = "user", .content = huge}}), huge);
}

TEST(ChatTemplateTest, AnswersFromAnyThread) {
  const auto chat = open(kChatMl);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) EXPECT_THAT(render(*chat, {kHi}), HasSubstr("hi<|im_end|>"));
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace spillway
