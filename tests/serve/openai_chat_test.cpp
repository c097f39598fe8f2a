// SPDX-License-Identifier: MIT
// What OpenAI's requests become before a model sees them: parts, tools of all kinds, formats, fields.
#include <gmock/gmock.h>

#include "serve/message_images.h"
#include "serve/ollama_options.h"
#include "serve/openai.h"
#include "serve/openai_responses.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Parse = Result<Call> (*)(std::string_view);

Result<Call> chat(const std::string& fields, const std::string& content = R"("hi")") {
  return parse_openai_chat(R"({"model":"m",)" + fields + R"("messages":[{"role":"user","content":)" + content + "}]}");
}
Result<Call> responses(const std::string& items, const std::string& fields = "") {
  return parse_openai_responses(R"({"model":"m",)" + fields + R"("input":[)" + items + "]}");
}
std::string refusal(const Result<Call>& call) { return call ? "" : call.error().message(); }
std::vector<std::string> names_of_tools(const std::vector<Tool>& tools) {
  std::vector<std::string> all;
  for (const Tool& tool : tools)
    all.push_back(tool.name + (tool.in_prompt ? "" : " (later)") + (tool.callable ? "" : " (not callable)"));
  return all;
}

TEST(OpenAiChat, AFileThatIsTextIsTextWithItsName) {
  const auto call = chat(
      "",
      R"([{"type":"text","text":"Sum up:"},{"type":"file","file":{"filename":"a.txt","file_data":"data:text/plain;base64,SXQgcmFpbmVkLg=="}}])");
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_EQ(call->messages[0].content, "Sum up:\n<document title=\"a.txt\">\nIt rained.\n</document>");
  EXPECT_THAT(
      refusal(chat(
          "", R"([{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0x"}}])")),
      HasSubstr("Could not process PDF"));
  EXPECT_THAT(refusal(chat("", R"([{"type":"file","file":{"file_id":"file-1"}}])")), HasSubstr("nothing is stored"));
  EXPECT_THAT(
      refusal(chat(
          "", R"([{"type":"file","file":{"filename":"a.bin","file_data":"data:application/zip;base64,UEsDBAA="}}])")),
      HasSubstr("'a.bin' is no text"));
}

TEST(OpenAiChat, AnImageOfAToolIsToldOfAndAUsersIsNoted) {
  const auto call = parse_openai_chat(
      R"({"model":"m","messages":[{"role":"user","content":"look"},{"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"a.png"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBO"}}]}]})");
  ASSERT_TRUE(call) << call.error().message();
  std::vector<Message> told = call->messages;
  tell_of_images(told);
  EXPECT_EQ(told[1].content, "a.png\n[image: the model cannot see it]");
  const auto shown = chat("", R"([{"type":"text","text":"this"},)"
                              R"({"type":"image_url","image_url":{"url":"data:image/png;base64,iVBO"}},)"
                              R"({"type":"text","text":"or that"}])");
  ASSERT_EQ(shown->messages[0].images.size(), 1u);
  EXPECT_EQ(shown->messages[0].content, "this\n" + shown->messages[0].images[0].mark + "\nor that");
  EXPECT_EQ(*image_bytes(shown->messages[0].images[0].data), "\x89PN");
  EXPECT_THAT(refusal(chat("", R"([{"type":"image_url"}])")), HasSubstr("needs an 'image_url'"));
}

TEST(OpenAiChat, WhatNobodyHereDoesIsRefusedByName) {
  for (const auto& [fields, name] :
       {std::pair(R"("modalities":["text","audio"],)", "audio"),
        std::pair(R"("audio":{"voice":"alloy","format":"wav"},)", "'audio'"),
        std::pair(R"("functions":[{"name":"f"}],)", "'functions'"),
        std::pair(R"("conversation":"c",)", "'conversation'"), std::pair(R"("n":0,)", "'n'"),
        std::pair(R"("guided_regex":"a+",)", "guided_regex"),
        std::pair(R"("chat_template_kwargs":{"messages":[]},)", "'messages'"),
        std::pair(R"("chat_template_kwargs":{"tools":[]},)", "'tools'")})
    EXPECT_THAT(refusal(chat(fields)), HasSubstr(name)) << fields;
  EXPECT_THAT(refusal(chat("", R"([{"type":"input_audio","input_audio":{"data":"","format":"wav"}}])")),
              HasSubstr("input_audio"));
  EXPECT_EQ(refusal(chat(R"("modalities":["text"],)")), "");
  for (const char* guide : {R"("grammar":"root ::= \"a\"")", R"("guided_choice":["a"])"})
    EXPECT_THAT(refusal(chat(std::string(guide) + R"(,"response_format":{"type":"json_object"},)")),
                HasSubstr("not both"));
}

TEST(OpenAiChat, UnknownFieldsAreNamedAndKnownOnesAreNot) {
  const auto call = chat(R"("sparkle":true,"user":"u","metadata":{},"prediction":{"type":"content","content":"x"},)");
  ASSERT_TRUE(call);
  EXPECT_THAT(call->not_applied, ElementsAre("sparkle", "prediction"));
}

TEST(OpenAiChat, SchemasComeUnderManyNames) {
  const std::string schema = R"({"type":"object","properties":{"a":{"type":"integer"}}})";
  for (const std::string& fields :
       {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":)" + schema + "}},",
        R"("response_format":{"type":"json_object","schema":)" + schema + "},", R"("json_schema":)" + schema + ",",
        R"("guided_json":)" + schema + ",",
        std::string(R"("guided_json":"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}",)"),
        R"("structured_outputs":{"json":)" + schema + "},"}) {
    const auto call = chat(fields);
    ASSERT_TRUE(call) << call.error().message();
    EXPECT_EQ(call->schema, schema) << fields;
    EXPECT_FALSE(call->any_json);
  }
  EXPECT_TRUE(chat(R"("response_format":{"type":"json_object"},)")->any_json);
  EXPECT_EQ(chat(R"("guided_choice":["yes","no"],)")->grammar, "root ::= (\"yes\" | \"no\")\n");
}

TEST(OpenAiTools, AllowedToolsAreCallableAndAllAreListed) {
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"b"}}],)";
  const auto call = chat(
      tools +
      R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"b"}}]}},)");
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_THAT(names_of_tools(call->tools), ElementsAre("a (not callable)", "b"));
  EXPECT_EQ(call->tool_choice, ToolChoice::kRequired);
  EXPECT_TRUE(call->several_calls);
  EXPECT_NE(
      refusal(chat(
          tools +
          R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"c"}}]}},)")),
      "");
}

TEST(OpenAiTools, ManyAreTakenAndTooManyAreRefused) {
  const auto tools = [](size_t n) {
    std::string list;
    for (size_t i = 0; i < n; ++i)
      list +=
          std::string(i > 0 ? "," : "") + R"({"type":"function","function":{"name":"f)" + std::to_string(i) + "\"}}";
    return R"("tools":[)" + list + "],";
  };
  const auto call = chat(tools(10'000));
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_EQ(call->tools.size(), 10'000u);
  EXPECT_NE(refusal(chat(tools(10'001))).find("more than 10000"), std::string::npos);
}

// A namespace stands before the name of each tool within: 5 MB before 100 took 6 GB.
TEST(OpenAiTools, ALongNamespaceOrNameIsRefused) {
  const auto tools = [](size_t n, const std::string& name) {
    return R"("tools":[{"type":"namespace","name":")" + std::string(n, 'n') +
           R"(","tools":[{"type":"function","name":")" + name + R"("}]}],)";
  };
  const std::string hi = R"({"role":"user","content":"hi"})";
  EXPECT_EQ(refusal(responses(hi, tools(1000, "f"))), "");
  EXPECT_NE(refusal(responses(hi, tools(1025, "f"))).find("a namespace of 1025 bytes"), std::string::npos);
  EXPECT_NE(refusal(responses(hi, tools(1000, std::string(100, 'f')))).find("a name has 1102 bytes"),
            std::string::npos);
}

// One answer holds what the client sent; 128 hold 128 copies.
TEST(Calls, ACopyTakesWhateverAClientMayMakeLong) {
  const std::string long_text(100'000, 'x');
  const auto bytes = [](const std::string& fields) {
    const auto call = chat(fields);
    EXPECT_TRUE(call) << call.error().message();
    return call ? bytes_of_copy(*call) : 0;
  };
  EXPECT_LT(bytes(""), 10'000u);
  for (const std::string& fields :
       {R"("stop":")" + long_text + R"(",)", R"("chat_template_kwargs":{"a":")" + long_text + R"("},)",
        R"("tools":[{"type":"function","function":{"name":"f","description":")" + long_text + R"("}}],)",
        R"("grammar":")" + long_text + R"(",)",
        R"("response_format":{"type":"json_schema","json_schema":{"schema":{"title":")" + long_text + R"("}}},)"})
    EXPECT_GT(bytes(fields), 100'000u) << fields.substr(0, 40);
}

TEST(Calls, NoSeedThatIsGivenStandsForANewOneEachTime) {
  const uint32_t new_each_time = SamplingOptions{}.seed;
  Call call;
  call.n_choices = 2;
  call.options.seed = 4294967294;
  EXPECT_EQ(sampler_seed(*answer_of(call, 0).options.seed), 4294967294u);
  const uint32_t second = sampler_seed(*answer_of(call, 1).options.seed);
  EXPECT_NE(second, new_each_time);
  EXPECT_EQ(sampler_seed(4294967295 + (int64_t{1} << 32)), second);
  EXPECT_EQ(sampler_seed(0), 0u);
}

TEST(OpenAiCompletion, APromptCountsOnceInAStreamWhateverEndsFirst) {
  Call call;
  call.n_choices = 2;
  call.prompts = std::make_shared<const std::vector<PromptValue>>(std::vector<PromptValue>{"short", "a longer one"});
  call.include_usage = true;
  const auto writer = make_openai_completion_writer(call, "cmpl-1", 0);
  for (const size_t choice : {2, 3, 0, 1}) {
    AnswerEnd end;
    end.prompt_tokens = choice < 2 ? 5 : 12;
    end.answer_tokens = 1;
    end.choice = choice;
    (void)writer->end(end);
  }
  EXPECT_NE(writer->last().find(R"("prompt_tokens":17,"completion_tokens":4,)"), std::string::npos);
}

TEST(Calls, BehindTheLastSeedComesTheFirst) {
  Call call;
  call.n_choices = 2;
  call.options.seed = INT64_MAX;
  EXPECT_EQ(answer_of(call, 0).options.seed, INT64_MAX);
  EXPECT_EQ(answer_of(call, 1).options.seed, 0);
}

TEST(OpenAiTools, EveryKindOfToolIsAFunctionToTheModel) {
  const auto call = responses(R"({"role":"user","content":"hi"})",
                              R"("tools":[{"type":"function","name":"f","parameters":{"type":"object"}},
                  {"type":"namespace","name":"mcp__files","description":"Files","tools":[{"type":"function","name":"read","description":"Reads","parameters":{"type":"object"}},{"type":"custom","name":"write"}]},
                  {"type":"custom","name":"apply_patch","description":"Patches","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},
                  {"type":"local_shell"},{"type":"shell"},{"type":"tool_search","execution":"client"},{"type":"web_search"}],)");
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_THAT(names_of_tools(call->tools), ElementsAre("f", "mcp__files__read", "mcp__files__write", "apply_patch",
                                                       "local_shell", "shell", "tool_search"));
  EXPECT_EQ(call->tools[1].description, "Files\nReads");
  EXPECT_EQ(call->tools[3].description, "Patches\nThe input follows this lark grammar:\nstart: x");
  EXPECT_THAT(call->not_applied, ElementsAre("tools: format of apply_patch", "tools: web_search"));
  EXPECT_NE(refusal(responses(R"({"role":"user","content":"hi"})", R"("tools":[{"type":"mcp","server_label":"s"}],)")),
            "");
  EXPECT_NE(refusal(responses(R"({"role":"user","content":"hi"})",
                              R"("tools":[{"type":"function","name":"f"},{"type":"function","name":"f"}],)")),
            "");
}

TEST(OpenAiResponses, AHistoryOfAllKindsOfCallsBecomesCallsAndResults) {
  const auto call = responses(
      R"({"type":"message","role":"user","content":[{"type":"input_text","text":"go"}]},
         {"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},
         {"type":"function_call","call_id":"1","namespace":"mcp__files__","name":"read","arguments":"{\"a\":1}"},
         {"type":"custom_tool_call","call_id":"2","name":"apply_patch","input":"*** Begin"},
         {"type":"local_shell_call","id":"l","call_id":"3","action":{"type":"exec","command":["ls"],"env":{}},"status":"completed"},
         {"type":"shell_call","call_id":"4","action":{"commands":["ls"]}},
         {"type":"function_call_output","call_id":"1","output":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"data:image/png;base64,iVBO"}]},
         {"type":"custom_tool_call_output","call_id":"2","output":"Done"},
         {"type":"local_shell_call_output","id":"3","output":"{\"output\":\"a\"}"},
         {"type":"shell_call_output","call_id":"4","output":[{"stdout":"a","stderr":"","outcome":{"type":"exit","exit_code":0}}]},
         {"type":"web_search_call","id":"w","status":"completed","action":{"type":"search","query":"q"}})");
  ASSERT_TRUE(call) << call.error().message();
  ASSERT_EQ(call->messages.size(), 7u);
  const Message& turn = call->messages[1];
  EXPECT_EQ(turn.thinking, "hm");
  std::vector<std::string> calls;
  for (const ToolCall& one : turn.tool_calls) calls.push_back(one.name + one.arguments);
  EXPECT_THAT(calls, ElementsAre(R"(mcp__files__read{"a":1})", R"(apply_patch{"input":"*** Begin"})",
                                 R"(local_shell{"command":["ls"],"env":{}})", R"(shell{"commands":["ls"]})"));
  ASSERT_EQ(call->messages[2].images.size(), 1u);
  EXPECT_EQ(call->messages[2].content, "x\n" + call->messages[2].images[0].mark);
  EXPECT_EQ(call->messages[2].tool_name, "mcp__files__read");
  EXPECT_EQ(call->messages[3].content, "Done");
  EXPECT_EQ(call->messages[4].tool_name, "local_shell");
  EXPECT_THAT(call->messages[5].content, HasSubstr(R"("stdout":"a")"));
  EXPECT_EQ(call->messages[6].content, R"([web_search_call: {"action":{"type":"search","query":"q"}}])");
}

TEST(OpenAiResponses, ToolsThatComeLaterAreWrittenWhereTheyCome) {
  const auto call = responses(
      R"({"role":"user","content":"go"},
         {"type":"additional_tools","role":"developer","tools":[{"type":"function","name":"late","parameters":{"type":"object"}}]},
         {"type":"tool_search_call","call_id":"s","execution":"client","arguments":{"query":"q"}},
         {"type":"tool_search_output","call_id":"s","execution":"client","tools":[{"type":"namespace","name":"ns","description":"","tools":[{"type":"function","name":"found","defer_loading":true,"parameters":{"type":"object"}}]}]})",
      R"("tools":[{"type":"tool_search","execution":"client"}],)");
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_THAT(names_of_tools(call->tools), ElementsAre("tool_search", "late (later)", "ns__found (later)"));
  EXPECT_EQ(call->messages[1].role, "system");
  EXPECT_THAT(call->messages[1].content, HasSubstr("The tool late is available from now on:"));
  EXPECT_EQ(call->messages[2].tool_calls[0].name, "tool_search");
  EXPECT_EQ(call->messages[3].role, "tool");
  EXPECT_THAT(call->messages[3].content, HasSubstr("ns__found"));
}

TEST(OpenAiResponses, WhatCannotBeUsedIsRefusedByName) {
  const std::string user = R"({"role":"user","content":"go"},)";
  for (const auto& [item, name] : {std::pair(R"({"type":"item_reference","id":"x"})", "item_reference"),
                                   std::pair(R"({"type":"compaction","encrypted_content":"x"})", "compaction"),
                                   std::pair(R"({"type":"compaction_trigger"})", "compaction_trigger"),
                                   std::pair(R"({"type":"sparkle"})", "sparkle")})
    EXPECT_THAT(refusal(responses(user + item)), HasSubstr(name)) << item;
  EXPECT_THAT(refusal(responses(R"({"role":"user","content":"go"})", R"("truncation":"some",)")),
              HasSubstr("truncation"));
}

}  // namespace
}  // namespace spillway
