// SPDX-License-Identifier: MIT
// The protocols as text: each file in goldens/ holds requests and, below each, the reply. With SPILLWAY_UPDATE_GOLDENS
// set the replies are written anew, to be looked at before they are committed.
#include "serve/routes.h"

#include <gmock/gmock.h>

#include <atomic>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <semaphore>
#include <sstream>
#include <thread>
#include <tuple>

#include "base/json_reader.h"
#include "chat/gbnf_matcher.h"
#include "os/machine.h"
#include "serve/answer_reader.h"
#include "serve/body_reading.h"
#include "serve/fake_models.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kToolTemplate =
    "{%- if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>"
    "call as <tool_call>{\"name\": ..., \"arguments\": ...}</tool_call>{% endif %}"
    "{%- for message in messages %}<{{ message.role }}>"
    "{%- if message.tool_calls %}{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson "
    "}}</tool_call>"
    "{% endfor %}{% endif %}{{ message.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

constexpr const char* kTurnTemplate =
    "^{%- for message in messages %}<{{ message.role }}>{{ message.content }}|{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

// What the scripted model answers: short, so that no matter how pieces are joined the reply is the same.
std::string scripted_answer(const std::string& prompt) {
  const std::string call = R"(<tool_call>{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}</tool_call>)";
  if (prompt.find("met__weather?") != std::string::npos)
    return R"(<tool_call>{"name": "met__weather", "arguments": {}}</tool_call>)";
  if (prompt.find("weather? twice") != std::string::npos) return call + call;
  if (prompt.find("weather?") != std::string::npos && prompt.find("<tool>") == std::string::npos) return call;
  if (prompt.find("<tool>") != std::string::npos) return "R";
  if (prompt.find("long") != std::string::npos) return std::string(2000, 'x');
  if (prompt.find("stop!") != std::string::npos) return "yesEND";
  return "A";
}

class RoutesTest : public testing::Test {
 protected:
  RoutesTest() {
    catalog_.add("plain", {"completion"});
    catalog_.add("agent", {"completion", "tools"}, kToolTemplate);
    catalog_.add("vectors", {"embedding"});
    catalog_.add("stored", {"completion"}, kTurnTemplate);
    FakeCatalog::Model& stored = catalog_.models["stored:latest"];
    stored.extras.system = "STORED";
    stored.extras.messages = {{"user", "shot"}, {"assistant", "reply"}};
    ManagerOptions options = scripted_manager([this](ScriptedEngine& engine, const LoadOptions& load) {
      engine.answer = scripted_answer;
      engine_ = &engine;
      engine.on_decode = [this](std::span<const BatchToken>) -> Result<void> {
        passes_left_.wait(0);
        --passes_left_;
        if (disk_fails_) return error(Code::kIo, "/models/plain: read at 4096: Input/output error");
        return {};
      };
      engine.on_resize = [this](uint32_t) -> Result<void> {
        if (resize_failure_) return Failure(*resize_failure_);
        return {};
      };
      if (load.path.ends_with("vectors") || load.path.ends_with("ranker")) engine.info.has_decoder = false;
      if (load.path.ends_with("ranker")) engine.info.n_scores = 1;
      if (load.path.ends_with("wide-vectors")) engine.info.n_embd = engine.n_embedding = 4u << 20;
      if (load.path.ends_with("base")) speak_as_base_model(engine);
    });
    options.load_engine = [this, load = options.load_engine](const LoadOptions& o) -> Result<std::unique_ptr<Engine>> {
      if (const auto failure = load_failures_.find(o.path); failure != load_failures_.end())
        return Failure(failure->second);
      return load(o);
    };
    manager_ = std::make_unique<ModelManager>(catalog_, options);
    routes_ = std::make_unique<Routes>(
        catalog_, *manager_,
        RoutesOptions{.version = "test",
                      .whole_scores_max = 5000,
                      .unix_s = [] { return 1.7e9; },
                      .forecast = [this](const ForecastRequest& asked) { return forecast(asked); }});
  }

  static std::string bytes_of(const WebReply& reply) {
    if (!reply.stream) return reply.body;
    std::string all;
    reply.stream([&](std::string_view bytes) {
      all += bytes;
      return true;
    });
    return all;
  }
  std::string ask(const std::string& method, const std::string& path, const std::string& body = "") {
    // "> name: value" lines before the body are headers; the path may have a query.
    WebRequest request{.method = method,
                       .path = path.substr(0, path.find('?')),
                       .headers = {},
                       .query = {},
                       .body = body,
                       .remote = "test",
                       .is_gone = {},
                       .read_body = {}};
    if (request.path != path) {
      std::istringstream query(path.substr(request.path.size() + 1));
      for (std::string pair; std::getline(query, pair, '&');)
        request.query[pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
    }
    while (request.body.starts_with("> ")) {
      const size_t colon = request.body.find(": "), end = std::min(request.body.find('\n'), request.body.size());
      request.headers[request.body.substr(2, colon - 2)] = request.body.substr(colon + 2, end - colon - 2);
      request.body.erase(0, end + 1);
    }
    const WebReply reply = routes_->handle(request);
    status_ = reply.status;
    std::string head = std::to_string(reply.status) + " " + reply.content_type;
    for (const auto& [name, value] : reply.headers) head += "\n" + name + ": " + value;
    return head + "\n" + bytes_of(reply);
  }
  std::string post(const std::string& path, const std::string& body) { return ask("POST", path, body); }
  std::string get(const std::string& path, std::map<std::string, std::string> query) {
    WebRequest request;
    request.method = "GET";
    request.path = path;
    request.query = std::move(query);
    const WebReply reply = routes_->handle(request);
    status_ = reply.status;
    return reply.body;
  }
  virtual Result<Forecast> forecast(const ForecastRequest& asked) {
    forecasts_.push_back(asked);
    if (asked.path == "/models/huge") return error(Code::kOutOfBudget, "at least 3 GiB is needed");
    return Forecast{
        .mode = "stream", .why = "it does not fit", .tok_per_s = 2.5, .load_s = 4, .bytes_read_per_token = 7};
  }
  void add_failing_models();

  // No template; it goes on with a conversation as if it took one down.
  static void speak_as_base_model(ScriptedEngine& engine) {
    engine.info.chat_template.clear();
    engine.answer_mark = "Assistant:";
    engine.answer = [](const std::string&) { return " fine.\n\nUser: and?"; };
  }

  std::atomic<int> passes_left_ = INT_MAX;  // then engines wait
  std::atomic<bool> disk_fails_ = false;
  std::optional<Status> resize_failure_;         // set before anybody asks
  std::map<std::string, Status> load_failures_;  // by path
  FakeCatalog catalog_;
  std::unique_ptr<ModelManager> manager_;
  std::unique_ptr<Routes> routes_;
  std::atomic<ScriptedEngine*> engine_ = nullptr;  // that was loaded last
  std::vector<ForecastRequest> forecasts_;
  int status_ = 0;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Ids and times are not the same twice.
std::string without_chance(std::string text) {
  static const std::pair<std::regex, const char*> kRules[] = {
      {std::regex(R"re("(\w+_duration)":\d+)re"), R"("$1":N)"},
      {std::regex(R"((chatcmpl-|cmpl-|resp_|msg_|req_)[0-9a-z]{24})"), "$1ID"},
      {std::regex(R"(call_[0-9a-z]{8})"), "call_ID"},
      {std::regex(R"re("(\w+_(ms|per_second))":[-+.e\d]+)re"), R"("$1":N)"},
      {std::regex(R"re("expires_at":"[^"]*")re"), R"("expires_at":"T")"}};
  for (const auto& [pattern, replacement] : kRules) text = std::regex_replace(text, pattern, replacement);
  return text;
}

struct Golden {
  std::string name, request, reply;
};

// "=== name", the request ("POST /path" and a body), "---", the reply.
std::vector<Golden> read_goldens(const std::string& path) {
  std::ifstream file(path);
  std::vector<Golden> all;
  std::string* to = nullptr;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("=== ")) {
      all.push_back({line.substr(4), "", ""});
      to = &all.back().request;
    } else if (line == "---" && !all.empty() && to == &all.back().request) {
      to = &all.back().reply;
    } else if (to != nullptr) {
      *to += line + "\n";
    }
  }
  return all;
}

class GoldenTest : public RoutesTest, public testing::WithParamInterface<const char*> {};

// Whose fault it is not: the model has no room beside another, or at all; its worker is gone.
void RoutesTest::add_failing_models() {
  const std::pair<const char*, Status> failures[] = {
      {"crowded", {Code::kBusy, "at least 3 GiB is needed (in use now, and not to be unloaded: plain; try again)"}},
      {"huge", {Code::kOutOfBudget, "at least 3 GiB is needed; raise --ram or lower --context"}},
      {"remote", {Code::kUnavailable, "worker lab:50052 closed the connection"}}};
  for (const auto& [name, status] : failures) {
    catalog_.add(name, {"completion", "embedding"});
    load_failures_.emplace(std::string("/models/") + name, status);
  }
  resize_failure_ = Status(Code::kOutOfBudget, "no room for a context of 3000 tokens: at least 3 GiB is needed");
}

TEST_P(GoldenTest, RepliesAreAsWritten) {
  if (std::string(GetParam()) == "failures") add_failing_models();
  const std::string path = std::string(GOLDENS) + "/" + GetParam() + ".txt";
  std::vector<Golden> goldens = read_goldens(path);
  ASSERT_FALSE(goldens.empty()) << path;
  const bool update = std::getenv("SPILLWAY_UPDATE_GOLDENS") != nullptr;
  std::string written;
  for (Golden& golden : goldens) {
    SCOPED_TRACE(golden.name);
    const size_t line = golden.request.find('\n'), space = golden.request.find(' ');
    std::string body = golden.request.substr(line + 1);
    while (body.ends_with('\n')) body.pop_back();
    std::string reply =
        without_chance(ask(golden.request.substr(0, space), golden.request.substr(space + 1, line - space - 1), body));
    // A model that is told that one call is enough computes on until it hears that.
    static const std::regex one_call(R"re("(parallel_tool_calls":false|disable_parallel_tool_use":true))re"),
        counts(R"re("(completion_tokens|output_tokens|total_tokens|eval_count)":\d+)re");
    if (std::regex_search(body, one_call)) reply = std::regex_replace(reply, counts, R"("$1":N)");
    if (!reply.ends_with('\n')) reply += '\n';
    if (update)
      written += "=== " + golden.name + "\n" + golden.request + "---\n" + reply;
    else
      EXPECT_EQ(reply, golden.reply);
  }
  if (update) std::ofstream(path) << written;
}
INSTANTIATE_TEST_SUITE_P(Protocols, GoldenTest,
                         testing::Values("ollama", "openai", "responses", "anthropic", "llama_server", "server",
                                         "bad_input", "failures"),
                         [](const auto& protocol) { return protocol.param; });

// The indices and texts of an answer's choices, in order.
std::string choices_of_reply(const std::string& reply) {
  std::string shown;
  const Json parsed = Json::parse(reply.substr(reply.find('{')));
  for (const Json& choice : parsed["choices"])
    shown += std::to_string(choice["index"].get<int>()) +
             (choice.contains("text") ? choice["text"] : choice["message"]["content"]).get<std::string>() + " ";
  return shown;
}

TEST_F(RoutesTest, SeveralAnswersComeInTheOrderOfTheirPrompts) {
  EXPECT_EQ(choices_of_reply(
                post("/v1/chat/completions", R"({"model":"plain","n":3,"messages":[{"role":"user","content":"hi"}]})")),
            "0A 1A 2A ");
  const std::string texts = post(
      "/v1/completions", R"({"model":"plain","n":2,"max_tokens":2,"prompt":["stop! <assistant>","hi <assistant>"]})");
  EXPECT_EQ(choices_of_reply(texts), "0ye 1ye 2A 3A ");
  EXPECT_THAT(texts, HasSubstr(R"("usage":{"prompt_tokens":31,"completion_tokens":6,)")) << "a prompt counts once";
  std::string many = R"("hi <assistant>")";
  for (int i = 1; i < 40; ++i) many += R"(,"stop! <assistant>")";
  const std::string all =
      choices_of_reply(post("/v1/completions", R"({"model":"plain","max_tokens":1,"prompt":[)" + many + "]}"));
  EXPECT_THAT(all, testing::StartsWith("0A 1y 2y "));
  EXPECT_THAT(all, testing::EndsWith("39y "));
}

TEST_F(RoutesTest, SeveralStreamedAnswersEndEachAndThenTogether) {
  const std::string stream = post(
      "/v1/chat/completions",
      R"({"model":"plain","n":3,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]})");
  for (const char* index : {"0", "1", "2"}) {
    EXPECT_THAT(stream,
                HasSubstr(std::string(R"({"index":)") + index + R"(,"delta":{"role":"assistant","content":"A"})"));
    EXPECT_THAT(stream, HasSubstr(std::string(R"({"index":)") + index +
                                  R"(,"delta":{},"logprobs":null,"finish_reason":"stop"})"));
  }
  EXPECT_THAT(stream, HasSubstr(R"("choices":[],"usage":{"prompt_tokens":19,"completion_tokens":3,)"));
  EXPECT_THAT(stream, testing::EndsWith("data: [DONE]\n\n"));
}

TEST_F(RoutesTest, MoreAnswersThanTheQueueHoldsBeginWhenOthersOfTheirRequestHaveEnded) {
  ManagerOptions options =
      scripted_manager([](ScriptedEngine& engine, const LoadOptions&) { engine.answer = scripted_answer; });
  options.n_parallel = 1;
  options.queue_max = 2;
  ModelManager manager(catalog_, options);
  Routes routes(catalog_, manager, RoutesOptions{.unix_s = [] { return 1.7e9; }});
  WebRequest request;
  request.method = "POST";
  request.path = "/v1/chat/completions";
  request.body = R"({"model":"plain","n":8,"messages":[{"role":"user","content":"hi"}]})";
  const WebReply several = routes.handle(request);
  ASSERT_EQ(several.status, 200) << several.body;
  EXPECT_EQ(choices_of_reply(several.body), "0A 1A 2A 3A 4A 5A 6A 7A ");
  request.path = "/v1/completions";
  std::string prompts = R"("stop! <assistant>")";
  for (int i = 1; i < 20; ++i) prompts += R"(,"hi <assistant>")";
  request.body = R"({"model":"plain","max_tokens":1,"prompt":[)" + prompts + "]}";
  const WebReply many = routes.handle(request);
  ASSERT_EQ(many.status, 200) << many.body;
  EXPECT_THAT(choices_of_reply(many.body), AllOf(testing::StartsWith("0y 1A 2A "), testing::EndsWith("19A ")));
}

TEST_F(RoutesTest, AFailureOfOneAnswerIsThatOfAll) {
  EXPECT_THAT(post("/v1/completions", R"({"model":"plain","prompt":["hi",[1,99999]]})"),
              HasSubstr("outside the vocabulary"));
  EXPECT_EQ(status_, 400);
}

TEST_F(RoutesTest, ASecondTurnComputesOnlyWhatIsNew) {
  const std::string question = "first question" + std::string(200, '?');
  const std::string first =
      R"({"model":"plain","stream":false,"messages":[{"role":"user","content":")" + question + R"("})";
  post("/api/chat", first + "]}");
  const std::string second =
      post("/api/chat", first + R"(,{"role":"assistant","content":"A"},{"role":"user","content":")" +
                            std::string(60, 's') + R"("}]})");
  EXPECT_THAT(second, HasSubstr(R"("prompt_eval_count":309,"prompt_eval_cached_count":192)"));
}

TEST_F(RoutesTest, AModelWithoutATemplateGoesOnWithTextsAndChatsInPlainTurns) {
  catalog_.add("base", {"completion"});
  const std::string rendered = R"({"model":"base","stream":false,"_debug_render_only":true,)";
  EXPECT_THAT(post("/api/generate", rendered + R"("prompt":"Once upon"})"),
              HasSubstr(R"("rendered_template":"Once upon")"));
  EXPECT_THAT(post("/api/generate", rendered + R"("prompt":"Once upon","system":"A tale."})"),
              HasSubstr(R"("rendered_template":"A tale.\n\nOnce upon")"));
  EXPECT_THAT(post("/api/generate", R"({"model":"base","stream":false,"prompt":"Assistant:"})"),
              HasSubstr(R"("response":" fine.\n\nUser: and?")"))
      << "as it is";
  const std::string hi = R"("messages":[{"role":"user","content":"hi"}]})";
  EXPECT_THAT(post("/api/chat", rendered + hi), HasSubstr(R"("rendered_template":"User: hi\n\nAssistant:")"));
  EXPECT_THAT(post("/api/chat", R"({"model":"base","stream":false,)" + hi),
              AllOf(HasSubstr(R"("content":"fine."})"), HasSubstr(R"("done_reason":"stop")")));
  EXPECT_THAT(post("/v1/chat/completions", R"({"model":"base","stop":["x"],)" + hi), HasSubstr(R"("content":"fine.")"));
  EXPECT_THAT(post("/api/show", R"({"model":"base"})"), HasSubstr("it has no template"));
  // Messages of its own show how it is to answer.
  catalog_.models.at("base:latest").extras.messages = {{"user", "1"}, {"assistant", "2"}};
  catalog_.models.at("base:latest").entry.digest = std::string(64, 'e');
  EXPECT_THAT(post("/api/generate", rendered + R"("prompt":"3"})"),
              HasSubstr(R"("rendered_template":"User: 1\n\nAssistant: 2\n\nUser: 3\n\nAssistant:")"));
}

TEST_F(RoutesTest, AThoughtThatATemplateOpensInAnyCaseIsClosedWhereNoneIsWanted) {
  catalog_.add("thinker", {"completion", "thinking"},
               "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n"
               "</think>\n\n{% endif %}{{ m.content }}{% endfor %}<assistant><think>{{ '\n' }}");
  const std::string hi = R"("messages":[{"role":"user","content":"hi"}]})";
  const std::string rendered = R"({"model":"thinker","stream":false,"_debug_render_only":true,)";
  EXPECT_THAT(post("/api/chat", rendered + R"("think":false,)" + hi),
              HasSubstr(R"(<assistant><think>\n\n</think>\n\n")"));
  EXPECT_THAT(post("/api/chat", rendered + hi), HasSubstr(R"(<assistant><think>\n")"));
}

TEST_F(RoutesTest, ATemplateInGosLanguageIsRendered) {
  catalog_.add(
      "go", {"completion", "insert"},
      "{{ if .Suffix }}<pre>{{ .Prompt }}<suf>{{ .Suffix }}<mid>{{ else }}{{ if .System }}<s>{{ .System }}{{ end }}"
      "<u>{{ .Prompt }}<a>{{ end }}");
  const std::string rendered = R"({"model":"go","stream":false,"_debug_render_only":true,)";
  EXPECT_THAT(post("/api/chat", rendered + R"("messages":[{"role":"user","content":"hi"}]})"),
              HasSubstr(R"("rendered_template":"<u>hi<a>")"));
  EXPECT_THAT(post("/api/generate", rendered + R"("prompt":"a","suffix":"b"})"),
              HasSubstr(R"("rendered_template":"<pre>a<suf>b<mid>")"));
  EXPECT_THAT(
      post("/api/generate", rendered + R"("prompt":"a","template":"{{ .System }}[{{ .Prompt }}]","system":"S"})"),
      HasSubstr(R"("rendered_template":"S[a]")"));
  EXPECT_THAT(post("/api/generate", rendered + R"("prompt":"a","template":"{{ nosuch .Prompt }}"})"),
              HasSubstr("the template cannot be parsed"));
  // Beside a renderer it is a stand-in.
  catalog_.models.at("go:latest").extras.renderer = "qwen3-coder";
  catalog_.models.at("go:latest").entry.digest = std::string(64, 'e');
  EXPECT_THAT(post("/api/chat", rendered + R"("messages":[{"role":"user","content":"hi"}]})"),
              HasSubstr(R"("rendered_template":"<user>hi<assistant>")"));
}

TEST_F(RoutesTest, WhatDoesNotFitIsCutOnlyWhereTheClientAllowsIt) {
  const std::string old(600, 'o'), recent(600, 'r');
  const std::string messages = R"("messages":[{"role":"system","content":"S"},{"role":"user","content":")" + old +
                               R"("},{"role":"user","content":")" + recent + R"("}])";
  const std::string cut =
      post("/api/chat", R"({"model":"plain","stream":false,"_debug_render_only":true,)" + messages + "}");
  EXPECT_THAT(cut, HasSubstr("<system>S<user>" + recent));
  const std::string refused = post("/api/chat", R"({"model":"plain","truncate":false,)" + messages + "}");
  EXPECT_THAT(refused,
              HasSubstr("request (1232 tokens) exceeds the available context size (1000 tokens), try increasing it"));
  EXPECT_EQ(status_, 400);
  EXPECT_THAT(post("/v1/chat/completions", R"({"model":"plain",)" + messages + "}"),
              HasSubstr("context_length_exceeded"));
}

TEST_F(RoutesTest, WhatATemplateTakesTooLongForIsCutOrRefused) {
  catalog_.add("short", {"completion"},
               "{% if messages | length > 8 %}{{ 'x' * 1000000000 }}{% endif %}{% for m in messages %}"
               "<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>");
  std::string messages = R"("messages":[{"role":"system","content":"S"})";
  for (int i = 0; i < 9; ++i) messages += R"(,{"role":"user","content":")" + std::to_string(i) + R"("})";
  messages += "]}";
  EXPECT_THAT(
      post("/api/chat", R"({"model":"short","stream":false,"_debug_render_only":true,)" + messages),
      HasSubstr(R"("rendered_template":"<system>S<user>2<user>3<user>4<user>5<user>6<user>7<user>8<assistant>")"));
  for (const char* path : {"/v1/chat/completions", "/v1/messages"}) {
    EXPECT_THAT(post(path, R"({"model":"short","max_tokens":1,)" + messages),
                HasSubstr("messages and 0 tools is too long for this model's chat template"));
    EXPECT_EQ(status_, 400);
  }
}

TEST_F(RoutesTest, MoreMessagesThanAContextHasTokensAreCutBeforeTheyAreRendered) {
  std::string messages = R"("messages":[{"role":"system","content":"S"})";
  for (int i = 0; i < 20'000; ++i) messages += R"(,{"role":"user","content":"x"})";
  messages += "]}";
  const std::string cut = post("/api/chat", R"({"model":"plain","stream":false,"_debug_render_only":true,)" + messages);
  EXPECT_THAT(cut, HasSubstr(R"("rendered_template":"<system>S<user>x<user>x)"));
  EXPECT_LT(cut.size(), 1300u);
}

TEST_F(RoutesTest, AnotherContextSizeLoadsNothingAnew) {
  post("/api/generate", R"({"model":"plain","prompt":"x","stream":false})");
  const ScriptedEngine* const engine = engine_;
  const std::string bigger =
      post("/api/generate", R"({"model":"plain","prompt":"x","stream":false,"options":{"num_ctx":3000}})");
  EXPECT_EQ(engine_, engine);
  EXPECT_THAT(bigger, Not(HasSubstr(R"("load_duration":0)"))) << "whoever waits for the model is told how long";
  EXPECT_THAT(ask("GET", "/api/ps"), HasSubstr(R"("context_length":3000)"));
}

TEST_F(RoutesTest, ASmallerContextBoundsPromptAndAnswerTogether) {
  const std::string reply = post(
      "/api/generate",
      R"({"model":"plain","prompt":"long","raw":true,"stream":false,"shift":false,"options":{"num_ctx":64,"num_predict":300}})");
  EXPECT_THAT(reply, HasSubstr(R"("done_reason":"length")"));
  EXPECT_THAT(reply, AllOf(HasSubstr(R"("prompt_eval_count":4,)"), HasSubstr(R"("eval_count":60,)")));
}

TEST_F(RoutesTest, AnAnswerThatShiftsASmallerContextEndsAtTenTimesThatWhateverWasAskedFor) {
  for (const char* n : {"-1", "1000000000"}) {
    const std::string reply = post(
        "/api/generate",
        std::string(
            R"({"model":"plain","prompt":"long","raw":true,"stream":false,"options":{"num_ctx":64,"num_predict":)") +
            n + "}}");
    EXPECT_THAT(reply, HasSubstr(R"("done_reason":"length")"));
    EXPECT_THAT(reply, HasSubstr(R"("eval_count":640,)"));
  }
}

TEST_F(RoutesTest, SchemasOfAllToolsTogetherThatAreTooMuchAreRefused) {
  std::string chain = R"("$defs":{"d0":{"type":"integer"})";
  for (int i = 1; i < 24; ++i) {
    const std::string ref = R"({"$ref":"#/$defs/d)" + std::to_string(i - 1) + R"(","minimum":)";
    chain += ",\"d" + std::to_string(i) + R"(":{"anyOf":[)" + ref + "1}," + ref + "2}]}";
  }
  const std::string tool = R"({"type":"function","function":{"name":"f","parameters":{"type":"object",)" + chain +
                           R"(},"properties":{"v":{"$ref":"#/$defs/d23","minimum":0}}}}})";
  EXPECT_THAT(post("/v1/chat/completions",
                   R"({"model":"agent","messages":[{"role":"user","content":"x"}],"tool_choice":"required","tools":[)" +
                       tool + "]}"),
              HasSubstr("combined too often"));
  EXPECT_EQ(status_, 400);
}

// While the context is made anew, for whoever asked for it and for whoever came behind him: events without content.
TEST_F(RoutesTest, WhoWaitsForAnotherContextSizeHearsThatWeAreThere) {
  std::counting_semaphore<8> go{0};
  int n_loads = 0;
  ModelManager manager(catalog_, scripted_manager([&](ScriptedEngine& engine, const LoadOptions&) {
                         ++n_loads;
                         engine.answer = scripted_answer;
                         engine.on_resize = [&](uint32_t) -> Result<void> {
                           go.acquire();
                           return {};
                         };
                       }));
  Routes routes(catalog_, manager, RoutesOptions{.status_wait_s = 0, .heartbeat_s = 0, .unix_s = [] { return 1.7e9; }});
  const auto stream = [&](const std::string& path, const std::string& body) {
    return routes.handle({.method = "POST",
                          .path = path,
                          .headers = {},
                          .query = {},
                          .body = body,
                          .remote = "test",
                          .is_gone = {},
                          .read_body = {}});
  };
  bytes_of(stream("/api/generate", R"({"model":"plain","prompt":"x"})"));
  const WebReply larger = stream("/api/generate", R"({"model":"plain","prompt":"x","options":{"num_ctx":3000}})");
  const WebReply behind = stream("/v1/completions", R"({"model":"plain","prompt":"x","stream":true,"max_tokens":1})");
  ASSERT_TRUE(larger.stream && behind.stream);
  std::string from_behind;
  behind.stream([&](std::string_view bytes) {
    from_behind += bytes;
    if (from_behind == ": still there\n\n") go.release();
    return true;
  });
  go.release();  // should it have been answered before the context was made anew
  std::istringstream lines(bytes_of(larger));
  std::vector<Json> events;
  for (std::string line; std::getline(lines, line);) events.push_back(Json::parse(line));
  ASSERT_GE(events.size(), 3u) << "no heartbeat, or no answer";
  EXPECT_EQ(events[0]["response"], "");
  EXPECT_EQ(events[0]["done"], false);
  EXPECT_EQ(events.back()["done"], true);
  EXPECT_EQ(events.back()["eval_count"], 1);
  EXPECT_THAT(from_behind, testing::EndsWith("data: [DONE]\n\n"));
  EXPECT_EQ(manager.running().front().n_ctx, 3000u);
  EXPECT_EQ(n_loads, 1);
}

TEST_F(RoutesTest, AContextWithoutRoomIsAnErrorAndTheOthersGoOn) {
  ModelManager manager(catalog_, scripted_manager([&](ScriptedEngine& engine, const LoadOptions&) {
                         engine.answer = scripted_answer;
                         engine.on_resize = [](uint32_t) -> Result<void> {
                           return error(Code::kOutOfBudget, "no room for a context of 3000 tokens");
                         };
                       }));
  Routes routes(catalog_, manager, RoutesOptions{});
  const auto ask = [&](const std::string& body) {
    return routes.handle({.method = "POST",
                          .path = "/api/generate",
                          .headers = {},
                          .query = {},
                          .body = body,
                          .remote = "test",
                          .is_gone = {},
                          .read_body = {}});
  };
  EXPECT_EQ(ask(R"({"model":"plain","prompt":"x","stream":false})").status, 200);
  const WebReply refused = ask(R"({"model":"plain","prompt":"x","stream":false,"options":{"num_ctx":3000}})");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("no room for a context of 3000 tokens"));
  EXPECT_EQ(ask(R"({"model":"plain","prompt":"x","stream":false})").status, 200);
}

// A page that shows it asks for it; others hear nothing they do not know.
TEST_F(RoutesTest, AStreamSaysWhatItWaitsForWhereItIsAskedTo) {
  std::counting_semaphore<8> loads{0};
  ManagerOptions options = scripted_manager([&](ScriptedEngine& engine, const LoadOptions& load) {
    engine.answer = scripted_answer;
    engine.on_decode = [this](std::span<const BatchToken>) -> Result<void> {
      passes_left_.wait(0);
      return {};
    };
    load.progress(0.25);
    loads.acquire();
  });
  passes_left_ = 0;
  ModelManager manager(catalog_, options);
  Routes routes(catalog_, manager, RoutesOptions{});
  WebRequest request;
  request.method = "POST";
  request.path = "/api/chat";
  request.body = R"({"model":"plain","progress":true,"messages":[{"role":"user","content":"hi"}]})";
  const WebReply reply = routes.handle(request);
  ASSERT_TRUE(reply.stream);
  std::vector<Json> seen;
  reply.stream([&](std::string_view line) {
    for (const std::string& each : lines_of(std::string(line))) {
      const Json json = Json::parse(each);
      if (json.contains("progress") && (seen.empty() || seen.back()["phase"] != json["progress"]["phase"]))
        seen.push_back(json["progress"]);
    }
    if (seen.size() == 1) loads.release();
    if (seen.size() == 2) {
      passes_left_ = INT_MAX;
      passes_left_.notify_all();
    }
    return true;
  });
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0]["phase"], "loading");
  EXPECT_EQ(seen[0]["model"], "plain:latest");
  EXPECT_EQ(seen[0]["done"], 250);
  EXPECT_EQ(seen[0]["total"], 1000);
  EXPECT_EQ(seen[1]["phase"], "prompt");
  EXPECT_EQ(seen[1]["total"], 19);
  EXPECT_EQ(seen[1]["n_ctx"], 1000);
}

TEST_F(RoutesTest, HowAModelWillRunIsSaidBeforeItIsLoaded) {
  const Json before = Json::parse(get("/api/spillway/forecast", {{"model", "Plain"}}));
  EXPECT_EQ(before["loaded"], false);
  EXPECT_EQ(before["mode"], "stream");
  EXPECT_EQ(before["predicted"]["tok_per_s"], 2.5);
  ASSERT_EQ(forecasts_.size(), 1u);
  EXPECT_EQ(forecasts_[0].path, "/models/plain");
  EXPECT_EQ(forecasts_[0].n_ctx, 1000u);
  EXPECT_TRUE(forecasts_[0].may_measure);
  EXPECT_TRUE(manager_->running().empty()) << "asking loads nothing";

  post("/api/generate", R"({"model":"plain"})");
  EXPECT_EQ(Json::parse(get("/api/spillway/forecast", {{"model", "plain"}}))["loaded"], true);
  EXPECT_EQ(forecasts_.size(), 1u) << "how a loaded one does is known";

  catalog_.add("huge", {"completion"});
  EXPECT_THAT(get("/api/spillway/forecast", {{"model", "huge"}}), HasSubstr("at least 3 GiB is needed"));
  EXPECT_EQ(status_, 500);
  get("/api/spillway/forecast", {{"model", "nobody"}});
  EXPECT_EQ(status_, 404);
  get("/api/spillway/forecast", {});
  EXPECT_EQ(status_, 400);
}

class CrowdedForecastTest : public RoutesTest {
 protected:
  Result<Forecast> forecast(const ForecastRequest&) override {
    most_ = std::max<int>(most_, ++inside_);
    go_on_.wait(false);
    --inside_;
    return Forecast{.mode = "stream", .why = "it does not fit"};
  }
  std::atomic<int> inside_ = 0, most_ = 0;
  std::atomic<bool> go_on_ = false;
};

TEST_F(CrowdedForecastTest, TwoForecastsArePlannedAtATime) {
  std::atomic<int> begun = 0, answered = 0;
  std::vector<std::thread> crowd;
  for (int i = 0; i < 8; ++i)
    crowd.emplace_back([&] {
      WebRequest request;
      request.method = "GET";
      request.path = "/api/spillway/forecast";
      request.query["model"] = "plain";
      ++begun;
      if (routes_->handle(request).status == 200) ++answered;
    });
  while (begun < 8 || inside_ < 2) std::this_thread::yield();
  go_on_ = true;
  go_on_.notify_all();
  for (std::thread& one : crowd) one.join();
  EXPECT_EQ(answered, 8);
  EXPECT_EQ(most_, 2);
}

TEST_F(RoutesTest, NothingIsMeasuredWhileSomebodyComputes) {
  passes_left_ = 0;
  std::thread busy([&] { post("/api/generate", R"({"model":"agent","prompt":"x","stream":false})"); });
  while (manager_->running().empty() || !manager_->running().front().stats.sequences.at(0).busy)
    std::this_thread::yield();
  get("/api/spillway/forecast", {{"model", "plain"}});
  EXPECT_FALSE(forecasts_.at(0).may_measure);
  passes_left_ = INT_MAX;
  passes_left_.notify_all();
  busy.join();
}

// Each protocol has its own way to say so when the status line is long gone.
TEST_F(RoutesTest, AReadThatFailsInTheMiddleOfAStreamEndsThatStreamAsItsProtocolDoes) {
  const std::string messages = R"("stream":true,"max_tokens":50,"messages":[{"role":"user","content":"long"}]})";
  struct Case {
    std::string path, body, last_line_begins;
  };
  const Case cases[] = {
      {"/api/chat", R"({"model":"plain",)" + messages, R"({"error":"model 'plain:latest': read)"},
      {"/api/generate", R"({"model":"plain","prompt":"long"})", R"({"error":"model 'plain:latest': read)"},
      {"/v1/chat/completions", R"({"model":"plain",)" + messages,
       R"(data: {"error":{"message":"model 'plain:latest': read)"},
      {"/v1/completions", R"({"model":"plain","prompt":"long","stream":true})",
       R"(data: {"error":{"message":"model 'plain:latest': read)"},
      {"/v1/messages", R"({"model":"plain",)" + messages,
       R"(data: {"type":"error","error":{"type":"api_error","message":"model 'plain:latest': read)"},
      {"/v1/responses", R"({"model":"plain","input":"long","stream":true})", R"(data: {"type":"response.failed")"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path);
    passes_left_ = 12;  // enough for the prompt and a token; the answer cannot end meanwhile
    const WebReply begun = routes_->handle({.method = "POST",
                                            .path = c.path,
                                            .headers = {},
                                            .query = {},
                                            .body = c.body,
                                            .remote = "test",
                                            .is_gone = {},
                                            .read_body = {}});
    ASSERT_TRUE(begun.stream);
    EXPECT_EQ(begun.status, 200);
    disk_fails_ = true;
    passes_left_ = INT_MAX;
    passes_left_.notify_all();
    std::string all = bytes_of(begun);
    disk_fails_ = false;
    EXPECT_THAT(all, Not(HasSubstr("[DONE]")));
    while (all.ends_with('\n')) all.pop_back();
    const std::string last = all.substr(all.rfind('\n') + 1);
    EXPECT_TRUE(last.starts_with(c.last_line_begins)) << last;
    EXPECT_THAT(post("/api/generate", R"({"model":"plain","prompt":"x","stream":false})"), HasSubstr(R"("done":true)"));
  }
}

// What each protocol says when the server stops in the middle of an answer.
struct BrokenOff {
  std::string path, body, whole_type, last_line;
};
const BrokenOff kBrokenOff[] = {
    {"/api/chat", R"("messages":[{"role":"user","content":"long"}])", R"({"error":"the server is shutting down"})",
     R"({"error":"the server is shutting down"})"},
    {"/v1/chat/completions", R"("messages":[{"role":"user","content":"long"}])", R"("type":"unavailable_error")",
     R"(data: {"error":{"message":"the server is shutting down","type":"unavailable_error")"},
    {"/v1/completions", R"("prompt":"long")", R"("type":"unavailable_error")",
     R"(data: {"error":{"message":"the server is shutting down","type":"unavailable_error")"},
    {"/v1/messages", R"("max_tokens":50,"messages":[{"role":"user","content":"long"}])", R"("type":"overloaded_error")",
     R"(data: {"type":"error","error":{"type":"overloaded_error")"},
    {"/v1/responses", R"("input":"long")", R"("type":"unavailable_error")", R"(data: {"type":"response.failed")"}};

TEST_F(RoutesTest, WhoIsBrokenOffByTheServersEndIsToldToAskAgain) {
  for (const bool stops : {true, false})
    for (const BrokenOff& c : kBrokenOff) {
      SCOPED_TRACE(c.path);
      passes_left_ = 12;
      WebRequest request;
      request.method = "POST";
      request.path = c.path;
      request.body = R"({"model":"plain","stream":false,)" + c.body + "}";
      request.is_gone = [] { return true; };
      request.is_stopping = [&] { return stops; };
      const WebReply reply = routes_->handle(request);
      passes_left_ = INT_MAX;
      passes_left_.notify_all();
      EXPECT_EQ(reply.status, stops ? 503 : 499);
      const bool says_when = std::any_of(reply.headers.begin(), reply.headers.end(),
                                         [](const auto& header) { return header.first == "Retry-After"; });
      EXPECT_EQ(says_when, stops);
      if (stops) {
        EXPECT_THAT(reply.body, HasSubstr(c.whole_type));
      }
    }
}

TEST_F(RoutesTest, AStreamThatTheServersEndBreaksOffEndsWithAnError) {
  for (const BrokenOff& c : kBrokenOff) {
    SCOPED_TRACE(c.path);
    passes_left_ = 12;  // enough for the prompt and a token; the answer cannot end meanwhile
    std::atomic<bool> stops = false;
    {
      WebRequest request;
      request.method = "POST";
      request.path = c.path;
      request.body = R"({"model":"plain","stream":true,)" + c.body + "}";
      request.is_gone = request.is_stopping = [&] { return stops.load(); };
      const WebReply begun = routes_->handle(request);
      ASSERT_TRUE(begun.stream);
      stops = true;
      std::string all = bytes_of(begun);
      EXPECT_THAT(all, Not(AnyOf(HasSubstr("[DONE]"), HasSubstr("message_stop"), HasSubstr(R"("done":true)"))));
      while (all.ends_with('\n')) all.pop_back();
      const std::string last = all.substr(all.rfind('\n') + 1);
      EXPECT_TRUE(last.starts_with(c.last_line)) << last;
    }
    passes_left_ = INT_MAX;
    passes_left_.notify_all();
    EXPECT_THAT(post("/api/generate", R"({"model":"plain","prompt":"x","stream":false})"), HasSubstr(R"("done":true)"));
  }
}

TEST_F(RoutesTest, AToolThatMustBeCalledIsForcedInEveryProtocol) {
  const std::string parameters = R"({"type":"object","properties":{"city":{"type":"string"}},"required":["city"]})";
  const auto openai_tool = [&](const char* name) {
    return R"({"type":"function","function":{"name":")" + std::string(name) + R"(","parameters":)" + parameters + "}}";
  };
  const auto anthropic_tool = [&](const char* name) {
    return R"({"name":")" + std::string(name) + R"(","input_schema":)" + parameters + "}";
  };
  const std::string messages = R"("messages":[{"role":"user","content":"weather?"}])";
  const std::string openai = R"({"model":"agent","max_tokens":5,)" + messages + R"(,"tools":[)" +
                             openai_tool("weather") + "," + openai_tool("time") + "]";
  const std::string anthropic = R"({"model":"agent","max_tokens":5,)" + messages + R"(,"tools":[)" +
                                anthropic_tool("weather") + "," + anthropic_tool("time") + "]";
  const auto call = [](const char* name) {
    return "<tool_call>{\"name\": \"" + std::string(name) + "\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>";
  };
  struct Case {
    std::string path, body;
    bool forced, several, other;
  };
  const Case cases[] = {
      {"/v1/chat/completions", openai + "}", false, false, false},
      {"/v1/chat/completions", openai + R"(,"tool_choice":"auto"})", false, false, false},
      {"/v1/chat/completions", openai + R"(,"tool_choice":"required"})", true, true, true},
      {"/v1/chat/completions", openai + R"(,"tool_choice":"required","parallel_tool_calls":false})", true, false, true},
      {"/v1/chat/completions", openai + R"(,"tool_choice":{"type":"function","function":{"name":"weather"}}})", true,
       false, false},
      {"/v1/responses",
       R"({"model":"agent","input":"weather?","max_output_tokens":5,"tool_choice":"required","tools":[{"type":"function","name":"weather","parameters":)" +
           parameters + R"(},{"type":"function","name":"time","parameters":)" + parameters + "}]}",
       true, true, true},
      {"/v1/messages", anthropic + "}", false, false, false},
      {"/v1/messages", anthropic + R"(,"tool_choice":{"type":"any"}})", true, true, true},
      {"/v1/messages", anthropic + R"(,"tool_choice":{"type":"any","disable_parallel_tool_use":true}})", true, false,
       true},
      {"/v1/messages", anthropic + R"(,"tool_choice":{"type":"tool","name":"weather"}})", true, false, false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path + " " + c.body);
    post(c.path, c.body);
    ASSERT_EQ(status_, 200);
    const std::string grammar = engine_.load()->grammars.back();
    EXPECT_EQ(!grammar.empty(), c.forced);
    if (!c.forced) continue;
    GbnfMatcher admits(grammar);
    EXPECT_TRUE(admits.matches(call("weather")));
    EXPECT_EQ(admits.matches(call("time")), c.other);
    EXPECT_EQ(admits.matches(call("weather") + call("weather")), c.several);
    EXPECT_FALSE(admits.matches("It is sunny."));
  }
}

TEST_F(RoutesTest, JsonIsAFormatOfTextAndCallsStayPossibleBesideIt) {
  const std::string parameters = R"({"type":"object","properties":{"city":{"type":"string"}},"required":["city"]})";
  const std::string schema = R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]})";
  const std::string messages = R"({"model":"agent","max_tokens":5,"messages":[{"role":"user","content":"weather?"}],)";
  const std::string ollama =
      messages + R"("stream":false,"tools":[{"type":"function","function":{"name":"weather","parameters":)" +
      parameters + "}}]";
  const std::string openai =
      ollama + R"(,"response_format":{"type":"json_schema","json_schema":{"schema":)" + schema + "}}";
  const std::string responses =
      R"({"model":"agent","input":"weather?","tools":[{"type":"function","name":"weather","parameters":)" + parameters +
      R"(}],"text":{"format":{"type":"json_schema","name":"n","schema":)" + schema + "}}";
  const std::string anthropic = messages + R"("tools":[{"name":"weather","input_schema":)" + parameters +
                                R"(}],"output_config":{"format":{"type":"json_schema","schema":)" + schema + "}}";
  struct Case {
    std::string path, body;
    bool calls, json;
  };
  const Case cases[] = {{"/v1/chat/completions", openai + "}", true, true},
                        {"/v1/chat/completions", openai + R"(,"tool_choice":"required"})", true, false},
                        {"/v1/chat/completions",
                         openai + R"(,"tool_choice":{"type":"function","function":{"name":"weather"}}})", true, false},
                        {"/v1/chat/completions", openai + R"(,"tool_choice":"none"})", false, true},
                        {"/v1/chat/completions", ollama + R"(,"response_format":{"type":"json_object"}})", true, true},
                        {"/v1/responses", responses + "}", true, true},
                        {"/v1/responses", responses + R"(,"tool_choice":"required"})", true, false},
                        {"/v1/messages", anthropic + "}", true, true},
                        {"/v1/messages", anthropic + R"(,"tool_choice":{"type":"any"}})", true, false},
                        {"/api/chat", ollama + R"(,"format":"json"})", true, true},
                        {"/api/chat", ollama + R"(,"format":)" + schema + "}", true, true}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path + " " + c.body);
    const std::string reply = post(c.path, c.body);
    ASSERT_EQ(status_, 200) << reply;
    EXPECT_THAT(reply, Not(HasSubstr("X-Spillway-Not-Applied: tools")));
    GbnfMatcher admits(engine_.load()->grammars.back());
    EXPECT_EQ(admits.matches(R"(<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>)"), c.calls);
    EXPECT_EQ(admits.matches(R"({"n": 3})"), c.json);
    EXPECT_FALSE(admits.matches("It is sunny."));
  }
}

TEST_F(RoutesTest, WhatGivesWayBesideAGrammarOfTheClientsOwnIsNamed) {
  const std::string asked =
      R"({"model":"agent","messages":[{"role":"user","content":"weather?"}],"tools":[{"type":"function","function":{"name":"weather"}}],"grammar":"root ::= \"yes\"")";
  EXPECT_THAT(post("/v1/chat/completions", asked + "}"), HasSubstr("X-Spillway-Not-Applied: tools\n"));
  EXPECT_EQ(engine_.load()->grammars.back(), "root ::= \"yes\"");
  EXPECT_THAT(post("/v1/chat/completions", asked + R"(,"tool_choice":"required"})"),
              HasSubstr("X-Spillway-Not-Applied: grammar\n"));
  EXPECT_THAT(engine_.load()->grammars.back(), HasSubstr("weather"));
  EXPECT_THAT(post("/v1/chat/completions", asked + R"(,"tool_choice":"none"})"), Not(HasSubstr("Not-Applied")));
  EXPECT_EQ(engine_.load()->grammars.back(), "root ::= \"yes\"");
}

TEST_F(RoutesTest, AStoredModelsSettingsAreUsedWhereTheRequestSaysNothing) {
  FakeCatalog::Model& model = catalog_.models.at("agent:latest");
  model.extras.system = "STORED";
  model.extras.messages = {{"user", "before"}, {"assistant", "yes"}};
  model.extras.parameters = {{"num_predict", 3}, {"stop", "END"}, {"top_k", "many"}};  // one is no option's value
  const std::string ask_long = R"("messages":[{"role":"user","content":"long"}])";
  EXPECT_THAT(post("/api/chat", R"({"model":"agent","stream":false,)" + ask_long + "}"),
              HasSubstr(R"("content":"xxx"})"));
  EXPECT_THAT(post("/api/chat", R"({"model":"agent","stream":false,"options":{"num_predict":2},)" + ask_long + "}"),
              HasSubstr(R"("content":"xx"})"));
  EXPECT_THAT(post("/api/generate", R"({"model":"agent","stream":false,"options":{"num_predict":9},"prompt":"stop!"})"),
              HasSubstr(R"("response":"yes")"));
  const std::string rendered = R"({"model":"agent","stream":false,"_debug_render_only":true,)";
  EXPECT_THAT(post("/api/chat", rendered + R"("messages":[{"role":"user","content":"hi"}]})"),
              HasSubstr("<system>STORED<user>before<assistant>yes<user>hi<assistant>"));
  EXPECT_THAT(
      post("/api/chat", rendered + R"("messages":[{"role":"system","content":"S"},{"role":"user","content":"hi"}]})"),
      HasSubstr("\"<system>S<user>before<assistant>yes<user>hi<assistant>"));
}

TEST_F(RoutesTest, NoTokensAreNoLimitToOllamaAloneAlsoWhereAModelHasThemStored) {
  const std::string ask = R"("messages":[{"role":"user","content":"stop!"}])";
  EXPECT_THAT(post("/api/chat", R"({"model":"plain","stream":false,"options":{"num_predict":0},)" + ask + "}"),
              HasSubstr(R"("content":"yesEND")"));
  EXPECT_THAT(post("/v1/chat/completions", R"({"model":"plain","options":{"num_predict":0},)" + ask + "}"),
              HasSubstr(R"("content":"yesEND")"));
  FakeCatalog::Model& model = catalog_.models.at("agent:latest");
  model.extras.parameters = {{"num_predict", 0}};
  EXPECT_THAT(post("/api/chat", R"({"model":"agent","stream":false,)" + ask + "}"), HasSubstr(R"("content":"yesEND")"));
  model.extras.parameters = {{"num_predict", 2}};
  model.entry.digest = std::string(64, 'e');
  EXPECT_THAT(post("/api/chat", R"({"model":"agent","stream":false,"options":{"num_predict":0},)" + ask + "}"),
              HasSubstr(R"("content":"yesEND")"))
      << "a request that says so has none";
  for (const char* name : {"n_predict", "max_tokens"})
    EXPECT_THAT(
        post("/completion", R"({"model":"plain","prompt":"stop!<assistant>",")" + std::string(name) + R"(":0})"),
        HasSubstr(R"("tokens_predicted":0)"));
  EXPECT_THAT(post("/v1/completions", R"({"model":"plain","prompt":"stop!<assistant>","max_tokens":0})"),
              HasSubstr(R"("completion_tokens":0)"));
}

TEST_F(RoutesTest, WhatAnEndpointDoesNotReadIsNamedThoughAnotherReadsIt) {
  const std::string hi = R"("messages":[{"role":"user","content":"hi"}])";
  struct Case {
    std::string path, body, named;
  };
  const Case cases[] = {
      {"/api/chat",
       R"({"model":"plain","stream":false,"images":["aGk="],"raw":true,"width":1,"height":1,"steps":1,"name":"x",)" +
           hi + "}",
       "images, raw, width, height, steps, name"},
      {"/api/generate", R"({"model":"plain","stream":false,"raw":true,"prompt":"x"})", ""},
      {"/api/embed", R"({"model":"vectors","input":"x","prompt":"y","truncate":true,"options":{"num_gpu":1}})",
       "prompt, options.num_gpu"},
      {"/api/embeddings", R"({"model":"vectors","prompt":"x","truncate":true,"options":{"num_ctx":100,"top_k":1}})",
       "truncate, options.top_k"},
      {"/v1/embeddings", R"({"model":"vectors","input":"x","user":"u","truncate":true,"options":{}})",
       "truncate, options"},
      {"/completion",
       R"({"model":"plain","prompt":"x","n_predict":1,"input_prefix":"a","input_suffix":"b","input_extra":[],"num_ctx":9})",
       "input_prefix, input_suffix, input_extra, num_ctx"},
      {"/v1/completions",
       R"({"model":"plain","prompt":"x","max_tokens":1,"reasoning_effort":"low","options":{"num_gpu":1,"top_k":2}})",
       "options.num_gpu, reasoning_effort"},
      {"/v1/chat/completions", R"({"model":"plain","think":true,"add_generation_prompt":true,)" + hi + "}", "think"},
      {"/v1/chat/completions", R"({"model":"plain","add_generation_prompt":false,)" + hi + "}",
       "add_generation_prompt"},
      {"/v1/chat/completions",
       R"({"model":"plain","add_generation_prompt":false,"messages":[{"role":"assistant","content":"hi"}]})", ""}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path + " " + c.body);
    const std::string reply = post(c.path, c.body);
    EXPECT_EQ(status_, 200) << reply;
    if (c.named.empty())
      EXPECT_THAT(reply, Not(HasSubstr("X-Spillway-Not-Applied")));
    else
      EXPECT_THAT(reply, HasSubstr("X-Spillway-Not-Applied: " + c.named + "\n"));
  }
}

TEST_F(RoutesTest, AModelThatRanksOrdersTexts) {
  catalog_.add("ranker", {"embedding"});
  const std::string texts = R"(["none", "ab ab ab", {"text":"ab"}, "ab ab ab"])";
  const std::string asked = R"({"model":"ranker","query":"ab","documents":)" + texts;
  for (const char* path : {"/v1/rerank", "/v2/rerank", "/v1/reranking", "/rerank", "/reranking"})
    EXPECT_EQ(
        post(path, asked + "}"),
        "200 application/json; charset=utf-8\n"
        R"({"model":"ranker","object":"list","usage":{"prompt_tokens":34,"total_tokens":34},"results":)"
        R"([{"index":1,"relevance_score":3.0},{"index":3,"relevance_score":3.0},{"index":2,"relevance_score":1.0},)"
        R"({"index":0,"relevance_score":0.0}]})")
        << path;
  EXPECT_THAT(post("/v1/rerank", asked + R"(,"top_n":2,"return_documents":true})"),
              HasSubstr(R"("results":[{"index":1,"relevance_score":3.0,"document":{"text":"ab ab ab"}},)"
                        R"({"index":3,"relevance_score":3.0,"document":{"text":"ab ab ab"}}]})"));
  EXPECT_THAT(post("/rerank", R"({"model":"ranker","query":"ab","texts":["x","ab"],"return_text":true})"),
              testing::EndsWith(R"([{"index":1,"score":1.0,"text":"ab"},{"index":0,"score":0.0,"text":"x"}])"));
  const std::string long_text(2000, 'x');
  EXPECT_THAT(post("/rerank", R"({"model":"ranker","query":"ab","documents":["x",")" + long_text + "\"]}"),
              HasSubstr("'documents[1]' and the query exceed the context length: 2003 tokens, room for 1000"));
  EXPECT_EQ(status_, 400);
  EXPECT_THAT(post("/v1/embeddings", R"({"model":"ranker","input":"x"})"), HasSubstr("ask /v1/rerank"));
  EXPECT_EQ(status_, 400);
  EXPECT_THAT(post("/api/embed", R"({"model":"ranker","input":"x"})"), HasSubstr("ask /v1/rerank"));
}

// Each holds files open: 190 of a silent registry left none to load a model with.
TEST_F(RoutesTest, PullsUnderWayAreBounded) {
  WebRequest request;
  request.method = "POST";
  request.path = "/api/pull";
  request.body = R"({"model":"some"})";
  std::vector<WebReply> under_way;  // their streams are not begun
  for (int i = 0; i < 16; ++i) under_way.push_back(routes_->handle(request));
  for (const WebReply& reply : under_way) EXPECT_EQ(reply.status, 200) << reply.body;
  const WebReply refused = routes_->handle(request);
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("16 pulls are under way"));
  under_way.pop_back();
  EXPECT_EQ(routes_->handle(request).status, 200);
}

TEST_F(RoutesTest, ADamagedModelIsRemovedAsAnyOther) {
  catalog_.add("bad", {"completion"});
  catalog_.models.at("bad:latest").is_damaged = true;
  ask("DELETE", "/api/delete", R"({"model":"bad"})");
  EXPECT_EQ(status_, 200);
  EXPECT_FALSE(catalog_.models.contains("bad:latest"));
}

// It is what the client named or sent that is wrong; else the server's disk is.
TEST_F(RoutesTest, AModelOfWhatIsNoneIsTheClientsMistake) {
  const std::string made = R"({"model":"new","from":"plain","stream":false})";
  catalog_.create_failure = {Code::kCorrupt, "plain: is not a GGUF file"};
  EXPECT_THAT(post("/api/create", made), HasSubstr("plain: is not a GGUF file"));
  EXPECT_EQ(status_, 400);
  catalog_.create_failure = {Code::kDiskFull, "no room on the disk"};
  post("/api/create", made);
  EXPECT_EQ(status_, 500);
}

TEST_F(RoutesTest, WhatIsKeptOfAnAnswerUntilItIsWholeIsBounded) {
  const std::string asked = R"({"model":"plain","prompt":"long","raw":true,"logprobs":true,"top_logprobs":5)";
  EXPECT_THAT(post("/api/generate", asked + R"(,"stream":false})"), HasSubstr("more than 5000 log probabilities"));
  EXPECT_EQ(status_, 400);
  EXPECT_THAT(post("/api/generate", asked + "}"), HasSubstr(R"("done":true)"));
  EXPECT_THAT(post("/api/generate", asked + R"(,"stream":false,"options":{"num_predict":100}})"),
              HasSubstr(R"("eval_count":100)"));
}

// Each upload begins while the one before it is read.
TEST_F(RoutesTest, UploadsUnderWayAreBounded) {
  std::vector<int> statuses;
  const std::function<void(int)> upload = [&](int n_more) {
    WebRequest request;
    request.method = "POST";
    request.path = "/api/blobs/sha256:" + std::string(64, 'a');
    request.read_body = [&upload, n_more](const auto& take) {
      if (n_more > 0) upload(n_more - 1);
      return take("a part");
    };
    const WebReply reply = routes_->handle(request);
    statuses.push_back(reply.status);
    if (reply.status != 201) {
      EXPECT_THAT(reply.body, HasSubstr("64 uploads are under way"));
    }
  };
  catalog_.takes_blobs = true;
  upload(64);
  std::vector<int> right(65, 201);
  right.front() = 503;  // the last to begin is the first to be answered
  EXPECT_EQ(statuses, right);
}

TEST_F(RoutesTest, MoreNumbersThanAReplyMayHaveAreNotComputed) {
  catalog_.add("wide-vectors", {"embedding"});
  const std::string five = R"({"model":"wide-vectors","input":["a","b","c","d","e"])";
  EXPECT_THAT(post("/api/embed", five + "}"),
              HasSubstr("5 inputs, with 4194304 numbers of each: 8388608 numbers are the most in one reply"));
  EXPECT_EQ(status_, 400);
  int n_split = 0;
  engine_.load()->on_tokenize = [&] { ++n_split; };
  EXPECT_THAT(post("/v1/embeddings", five + "}"), HasSubstr("8388608 numbers are the most in one reply"));
  EXPECT_EQ(status_, 400);
  EXPECT_EQ(n_split, 0) << "what is too much is known before a text is looked at";
  engine_.load()->on_tokenize = nullptr;
  EXPECT_THAT(post("/v1/embeddings", five + R"(,"dimensions":1})"), HasSubstr(R"("index":4,"embedding":[1.0])"));
}

TEST_F(RoutesTest, AModelThatWritesTextIsNotLoadedToSayThatItDoesNotRank) {
  EXPECT_THAT(post("/v1/rerank", R"({"model":"plain","query":"x","documents":["y"]})"), HasSubstr("does not rank"));
  EXPECT_EQ(status_, 501);
  EXPECT_TRUE(manager_->running().empty());
}

TEST_F(RoutesTest, AStreamWhoseClientIsGoneFreesTheSlot) {
  passes_left_ = 3;  // the answer has begun and cannot end while its client goes
  const WebReply reply = routes_->handle({.method = "POST",
                                          .path = "/api/generate",
                                          .headers = {},
                                          .query = {},
                                          .body = R"({"model":"plain","prompt":"long"})",
                                          .remote = "test",
                                          .is_gone = {},
                                          .read_body = {}});
  ASSERT_TRUE(reply.stream);
  {
    WebReply ended = reply;
    ended.stream([](std::string_view) { return false; });
  }
  const_cast<WebReply&>(reply).stream = nullptr;
  passes_left_ = INT_MAX;
  passes_left_.notify_all();
  while (manager_->running().front().stats.cancelled == 0) std::this_thread::yield();
  while (manager_->running().front().stats.sequences[0].busy) std::this_thread::yield();
}

// Each on a thread of its own, they would leave the decode thread a hundredth of a processor.
TEST_F(RoutesTest, AFewTextsAreSplitAtATimeWhateverTheyAreSplitFor) {
  post("/api/generate", R"({"model":"plain","prompt":"x"})");
  std::atomic<int> n_now{0}, n_most{0}, n_all{0};
  ScriptedEngine& engine = *engine_.load();
  engine.on_tokenize = [&] {
    ++n_all;
    const int now = ++n_now;
    for (int seen = n_most; seen < now && !n_most.compare_exchange_weak(seen, now);) continue;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    --n_now;
  };
  const std::pair<const char*, const char*> requests[] = {
      {"/api/generate", R"({"model":"plain","prompt":"x","stream":false,"options":{"num_predict":1}})"},
      {"/v1/messages/count_tokens", R"({"model":"plain","messages":[{"role":"user","content":"x"}]})"},
      {"/v1/embeddings", R"({"model":"plain","input":["x","y"]})"},
      {"/tokenize", R"({"model":"plain","content":"x"})"},
      {"/apply-template", R"({"model":"plain","messages":[{"role":"user","content":"x"}]})"}};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 20; ++i)
      threads.emplace_back([&, i] {
        const auto& [path, body] = requests[i % 5];
        const WebReply reply = routes_->handle({.method = "POST",
                                                .path = path,
                                                .headers = {},
                                                .query = {},
                                                .body = body,
                                                .remote = std::to_string(i % 3),
                                                .is_gone = {},
                                                .read_body = {}});
        EXPECT_EQ(reply.status, 200) << path << reply.body;
      });
  }
  engine.on_tokenize = nullptr;
  EXPECT_GE(n_all, 20);
  EXPECT_GT(n_most, 1);
  EXPECT_LE(n_most, 4);
}

TEST_F(RoutesTest, WhoWaitsForHisTurnToBeMadeReadyHearsThatWeAreThere) {
  std::counting_semaphore<1000> go{0};
  std::atomic<int> n_splitting{0};
  ScriptedEngine* engine = nullptr;
  ModelManager manager(catalog_, scripted_manager([&](ScriptedEngine& made, const LoadOptions&) {
                         made.info.sees_images = true;
                         made.answer = scripted_answer;
                         engine = &made;
                       }));
  Routes routes(catalog_, manager, RoutesOptions{.status_wait_s = 0, .heartbeat_s = 0, .unix_s = [] { return 1.7e9; }});
  const auto ask = [&](const std::string& client, const std::string& path, const std::string& body) {
    return routes.handle({.method = "POST",
                          .path = path,
                          .headers = {},
                          .query = {},
                          .body = body,
                          .remote = client,
                          .is_gone = {},
                          .read_body = {}});
  };
  const std::string one = R"({"model":"plain","prompt":"x","max_tokens":1})";
  bytes_of(ask("modest", "/v1/completions", one));
  engine->on_tokenize = [&] {
    ++n_splitting;
    go.acquire();
  };
  const std::pair<const char*, const char*> requests[] = {
      {"/v1/completions", R"({"model":"plain","prompt":"x","stream":true,"max_tokens":1})"},
      {"/v1/completions", R"({"model":"plain","prompt":["x","y"],"n":2,"stream":true,"max_tokens":1})"},
      {"/api/generate", R"({"model":"plain","prompt":"x","images":["SU1HYQ==","SU1HYg=="],"raw":true})"}};
  for (const auto& [path, body] : requests) {
    n_splitting = 0;
    std::vector<std::jthread> greedy;
    for (int i = 0; i < 4; ++i) greedy.emplace_back([&] { bytes_of(ask("greedy", "/v1/completions", one)); });
    while (n_splitting < 4) std::this_thread::yield();
    const WebReply waits = ask("modest", path, body);
    ASSERT_TRUE(waits.stream) << body;
    std::string first, heard;
    waits.stream([&, body = body](std::string_view bytes) {
      if (first.empty()) {
        first = bytes;
        EXPECT_EQ(n_splitting, 4) << body;
        go.release(100);
      }
      heard += bytes;
      return true;
    });
    EXPECT_THAT(first, testing::AnyOf(": still there\n\n", HasSubstr(R"("response":"","done":false)"))) << body;
    EXPECT_THAT(heard, testing::AnyOf(HasSubstr("[DONE]"), HasSubstr(R"("done":true)"))) << body;
    greedy.clear();
    while (go.try_acquire()) continue;
  }
}

TEST_F(RoutesTest, WhatALargeBodyTookWhileItWasReadGoesBackToTheSystemAtOnce) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's allocator keeps what is freed";
#endif
  WebRequest request;
  request.body = "[";
  for (int i = 0; i < 900'000; ++i) request.body += "[],";
  request.body += "[]]";
  // What is kept of it lies behind the tree, as what waits for an answer does.
  std::vector<std::unique_ptr<std::string>> kept;
  uint64_t read_bytes = 0;
  const auto parse = [&](std::string_view body) -> Result<size_t> {
    ASSIGN_OR_RETURN(const Json tree, read_json(body));
    kept.push_back(std::make_unique<std::string>(1000, 'x'));
    read_bytes = process_usage().rss_bytes;
    return tree.size();
  };
  EXPECT_EQ(*read_body(request, parse), 900'001u);
  EXPECT_LT(process_usage().rss_bytes, read_bytes - (24u << 20));
}

// What the client left behind became one tree of JSON, and was counted when that was text.
TEST_F(RoutesTest, LogProbabilitiesThatAClientLeftBehindComeInPartsAndAreCounted) {
  for (const bool is_room : {true, false}) {
    uint64_t taken = 0;
    WebRequest request;
    request.method = "POST";
    request.path = "/completion";
    request.body = R"({"model":"plain","prompt":"long<assistant>","stream":true,"n_probs":20,"n_predict":900})";
    request.remote = "test";
    request.may_take = [&](uint64_t more) { return (taken += more) < 600'000 || is_room; };
    const WebReply reply = routes_->handle(request);
    if (!is_room && !reply.stream) {  // it was refused before it began
      EXPECT_EQ(reply.status, 503);
      continue;
    }
    ASSERT_TRUE(reply.stream);
    const auto is_busy = [&] {
      const auto sequences = manager_->running().front().stats.sequences;
      return std::any_of(sequences.begin(), sequences.end(), [](const auto& one) { return one.busy; });
    };
    size_t n_all = 0;
    std::string text, last;
    reply.stream([&](std::string_view bytes) {
      while (is_busy()) std::this_thread::yield();
      last = bytes;
      size_t n = 0;
      for (size_t at = bytes.find("\"logprob\":"); at != std::string_view::npos;
           at = bytes.find("\"logprob\":", at + 1))
        ++n;
      EXPECT_LE(n, AnswerReader::kPartScoresMax);
      n_all += n;
      const Json event = json_or_null(bytes.substr(std::min(bytes.find('{'), bytes.size())));
      if (event.contains("content")) text += event["content"].get<std::string>();
      return true;
    });
    EXPECT_GE(taken, 600'000u);
    if (is_room) {
      EXPECT_EQ(n_all, 900u * 21);
      EXPECT_EQ(text, std::string(900, 'x'));
    } else {
      EXPECT_THAT(last, HasSubstr("too many log probabilities wait"));
    }
  }
}

TEST_F(RoutesTest, WhatARequestTakesBesideItsBodyIsCounted) {
  const std::string name(1000, 'n');
  std::string tools, messages, said, texts;
  for (int i = 0; i < 500; ++i) {
    const std::string comma = i > 0 ? "," : "";
    tools += comma + R"({"type":"function","name":"f)" + std::to_string(i) + "\"}";
    messages += comma + R"({"role":"user"})";
    said += comma + R"({"role":"user","content":"c"})";
    texts += comma + R"("a")";
  }
  catalog_.add("ranker", {"embedding"});
  const std::string sevens(100'000, '7');
  const std::tuple<const char*, std::string, uint64_t> requests[] = {
      {"/v1/responses",
       R"({"model":"agent","input":"x","max_output_tokens":1,"tools":[{"type":"namespace","name":")" + name +
           R"(","description":"d","tools":[)" + tools + "]}]}",
       1'000'000},
      {"/api/chat", R"({"model":"plain","stream":false,"messages":[)" + messages + "]}", 50'000},
      {"/v1/completions", R"({"model":"plain","n":16,"max_tokens":1,"prompt":")" + std::string(500, 'x') + "\"}", 7000},
      {"/v1/completions", R"({"model":"plain","prompt":"x","max_tokens":1,"grammar":"root ::= \"a\"{100000}"})",
       800'000},
      {"/api/embed", R"({"model":"vectors","input":[)" + texts + "]}", 80'000},
      {"/v1/embeddings", R"({"model":"vectors","input":[)" + texts + "]}", 80'000},
      {"/v1/rerank", R"({"model":"ranker","query":"x","documents":[)" + texts + "]}", 16'000},
      {"/tokenize", R"({"model":"plain","with_pieces":true,"content":")" + sevens + "\"}", 2'000'000},
      {"/detokenize", R"({"model":"plain","tokens":[55,55,55,55]})", 16},
      {"/apply-template", R"({"model":"plain","messages":[)" + said + "]}", 40'000},
      {"/completion", R"({"model":"plain","prompt":"long<assistant>","stream":false,"n_probs":20,"n_predict":200})",
       200'000}};
  for (const auto& [path, body, bytes] : requests)
    for (const bool is_room : {true, false}) {
      uint64_t taken = 0;
      WebRequest request;
      request.method = "POST";
      request.path = path;
      request.body = body;
      request.remote = "test";
      request.may_take = [&taken, is_room, bytes = bytes](uint64_t more) {
        taken += more;
        return is_room || taken < bytes;
      };
      const WebReply reply = routes_->handle(request);
      EXPECT_GE(taken, bytes) << path << body.substr(0, 200);
      if (!is_room) {
        EXPECT_EQ(reply.status, 503) << path << reply.body;
      } else {
        EXPECT_NE(reply.status, 503) << path << reply.body;
      }
    }
}

TEST_F(RoutesTest, ARequestWithASlashTooManyIsNotCopied) {
  const auto held = std::make_shared<int>();
  long n_holders = 0;
  WebRequest request{.method = "POST",
                     .path = "/api/chat/",
                     .headers = {},
                     .query = {},
                     .body = R"({"model":"plain","stream":false,"messages":[{"role":"user","content":"hi"}]})",
                     .remote = "test",
                     .is_gone =
                         [&] {
                           n_holders = held.use_count();
                           return false;
                         },
                     .read_body = [held](const std::function<bool(std::string_view)>&) { return false; }};
  EXPECT_THAT(routes_->handle(request).body, HasSubstr(R"("content":"A")"));
  EXPECT_EQ(n_holders, 2) << "the request has it, and this test";
}

TEST_F(RoutesTest, ABlobThatIsNoWholeFileIsNotAskedForAgain) {
  catalog_.takes_blobs = true;
  WebRequest request;
  request.method = "POST";
  request.path = "/api/blobs/sha256:" + std::string(64, 'a');
  request.body = "bytes";
  request.remote = "test";
  catalog_.blobs_are_cut = true;
  const WebReply cut = routes_->handle(request);
  EXPECT_EQ(cut.status, 400);
  EXPECT_THAT(cut.body, HasSubstr("cut or damaged"));
  catalog_.blobs_are_cut = false;
  EXPECT_EQ(routes_->handle(request).status, 201);
  EXPECT_EQ(routes_->handle(request).status, 200);
}

TEST_F(RoutesTest, ManyAtOnceGetWhatOneGets) {
  std::vector<std::thread> threads;
  std::vector<std::string> replies(16);
  for (size_t i = 0; i < replies.size(); ++i)
    threads.emplace_back([&, i] {
      const WebReply reply = routes_->handle(
          {.method = "POST",
           .path = "/api/generate",
           .headers = {},
           .query = {},
           .body = R"({"model":"plain","prompt":"long )" + std::to_string(i % 4) + R"(","options":{"num_predict":50}})",
           .remote = std::to_string(i),
           .is_gone = {},
           .read_body = {}});
      replies[i] = bytes_of(reply);
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& reply : replies) {
    size_t n = 0;
    std::istringstream lines(reply);
    std::string last, text;
    for (std::string line; std::getline(lines, line); last = line)
      text += Json::parse(line)["response"].get<std::string>();
    n = text.size();
    EXPECT_EQ(n, 50u);
    EXPECT_THAT(last, HasSubstr(R"("done":true,"done_reason":"length")"));
  }
}

}  // namespace
}  // namespace spillway
