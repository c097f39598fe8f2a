// SPDX-License-Identifier: MIT
// The table of paths, and what every answer has in common: a status while nothing is sent, then a stream that says that
// it is still there.
#include "serve/routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "base/clock.h"
#include "base/notice.h"
#include "base/saturating_sub.h"
#include "base/utf8.h"
#include "chat/grammar.h"
#include "serve/answer_group.h"
#include "serve/anthropic.h"
#include "serve/body_reading.h"
#include "serve/error_body.h"
#include "serve/llama_server.h"
#include "serve/ollama.h"
#include "serve/openai.h"
#include "serve/openai_responses.h"
#include "serve/prepared_call.h"
#include "serve/rerank.h"

namespace spillway {
namespace {

// How long a client that went away may go unnoticed.
constexpr std::chrono::milliseconds kPatience{200};
// How often a stream says what it waits for, where it was asked to.
constexpr double kProgress_s = 0.5;

double clock_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

struct Liveness {
  double heartbeat_s = 0;
  bool tells_progress = false;                 // what is waited for, twice a second
  std::function<bool()> is_gone, is_stopping;  // as of a WebRequest
};

Status client_left() { return {Code::kCancelled, "the client went away"}; }

// `next` and each step after it, until the answer ends or the client is gone. A stream that is cut ends with an error:
// its last chunk looks like that of a whole one.
void send_answer(AnswerGroup& run, AnswerRun::Step next, AnswerWriter& writer, const Liveness& alive,
                 const WebSink& sink) {
  Stopwatch since_sent;
  for (;;) {
    std::string bytes;
    bool last = true;
    if (alive.tells_progress && next.counted) bytes = writer.progress(run.progress());
    switch (next.kind) {
      case AnswerRun::Step::kPart:
        bytes += writer.part(next.part);
        last = false;
        break;
      case AnswerRun::Step::kEnd:
        bytes += writer.end(next.end);
        last = run.done();
        if (last) bytes += writer.last();
        break;
      case AnswerRun::Step::kFailure:
        bytes = writer.failure(as_told(*next.failure, alive.is_stopping));
        break;
      case AnswerRun::Step::kWaiting:
        if (alive.is_gone && alive.is_gone()) {
          bytes = writer.failure(as_told(client_left(), alive.is_stopping));
          break;
        }
        if (alive.tells_progress && since_sent.elapsed_s() >= kProgress_s) bytes = writer.progress(run.progress());
        if (bytes.empty() && since_sent.elapsed_s() >= alive.heartbeat_s) bytes = writer.heartbeat();
        last = false;
    }
    if (!bytes.empty()) {
      if (!sink(bytes)) return;  // the run ends with its last owner
      since_sent = Stopwatch();
    }
    if (last) return;
    next = run.step(kPatience);
    if (next.counted) writer.counted(*next.counted);
  }
}

WebReply plain(int status, std::string text) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(text)};
}

// Each part of a request that nothing here does: once in the log, and for the client in a header.
std::string tell_of(const std::vector<std::string>& not_applied) {
  constexpr size_t kNameBytes = 100, kHeaderBytes = 1000;
  constexpr int kNoticesMax = 500;  // clients choose the names
  static std::atomic<int> n_notices = 0;
  std::string header;
  for (const std::string& name : not_applied) {
    if (header.size() + kNameBytes >= kHeaderBytes && n_notices >= kNoticesMax) break;
    std::string shown = name.substr(0, kNameBytes);
    std::replace_if(
        shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~' || c == ','; }, '?');
    if (n_notices < kNoticesMax && ++n_notices < kNoticesMax)
      notice(fmt::format("a request says '{}', which nothing here does", shown));
    if (header.find(shown) == std::string::npos && header.size() + shown.size() < kHeaderBytes)
      header += (header.empty() ? "" : ", ") + shown;
  }
  return header;
}

// The keywords of a schema that its grammar does without. A schema that is none is refused where it is used.
//   InvalidArgument   all schemas of the request together are too much
Result<std::set<std::string>> left_out_of_grammar(const std::string& schema, SchemaWork& work) {
  std::set<std::string> left_out;
  if (!grammar_of_schema(schema, &work, &left_out)) left_out.clear();
  RETURN_IF_ERROR(work.charge(0));
  return left_out;
}

// A few are read at a time: hundreds would take the processors from all answers under way.
Result<FairPlaces::Place> place_for_schemas(const Asker& asker, size_t bytes) {
  static FairPlaces places(4);
  return places.take(asker, bytes > kShortTextBytesMax);
}

// Whether a grammar holds its calls: those that are forced, and those that may come instead of JSON.
bool holds_calls(const Call& call) {
  return call.tool_choice == ToolChoice::kRequired ||
         (call.tool_choice == ToolChoice::kAuto && !call.tools.empty() && is_json(call));
}

// Beside a grammar of the client's own: no call is of it, and where one is required nothing else is.
void tell_of_grammar(Call& call) {
  if (call.grammar.empty() || is_json(call) || call.tools.empty()) return;
  if (call.tool_choice == ToolChoice::kAuto) call.not_applied.emplace_back("tools");
  if (call.tool_choice == ToolChoice::kRequired) call.not_applied.emplace_back("grammar");
}

// What no grammar can express of the arguments of a call that it holds is left to the client too, but where the call is
// forced and its tool says that it is strict.
Result<void> tell_of_tools(Call& call, SchemaWork& work) {
  const std::unordered_set<std::string_view> strict(call.strict_tools.begin(), call.strict_tools.end());
  tell_of_grammar(call);
  if (call.tool_choice == ToolChoice::kAuto && !holds_calls(call) && !call.strict_tools.empty())
    call.not_applied.emplace_back("tools: strict");
  if (!holds_calls(call)) return {};
  for (const Tool& tool : call.tools) {
    if (!tool.callable || tool.parameters.empty()) continue;
    ASSIGN_OR_RETURN(const std::set<std::string> left_out, left_out_of_grammar(tool.parameters, work));
    if (!left_out.empty() && call.tool_choice == ToolChoice::kRequired && strict.contains(tool.name)) {
      const auto grammar = grammar_of_schema(tool.parameters, &work);
      if (!grammar && grammar.error().code() == Code::kUnsupported)
        return Failure({Code::kInvalidArgument, fmt::format("tool {}: {}", tool.name, grammar.error().message())});
    }
    for (const std::string& keyword : left_out)
      call.not_applied.push_back(fmt::format("schema of {}: {}", tool.name.substr(0, 80), keyword));
  }
  return {};
}

Result<void> tell_of_schemas(Call& call, const Asker& asker) {
  const bool reads_schema = !call.strict_schema && !call.schema.empty();
  const bool reads_tools = holds_calls(call);
  size_t bytes = reads_schema ? call.schema.size() : 0;
  if (reads_tools)
    for (const Tool& tool : call.tools) bytes += tool.parameters.size();
  std::optional<FairPlaces::Place> place;
  if (bytes > 0) {
    ASSIGN_OR_RETURN(auto taken, place_for_schemas(asker, bytes));
    place.emplace(std::move(taken));
  }
  SchemaWork work;
  if (reads_schema) {
    ASSIGN_OR_RETURN(const auto left_out, left_out_of_grammar(call.schema, work));
    for (const std::string& keyword : left_out) call.not_applied.push_back("schema: " + keyword);
  }
  return tell_of_tools(call, work);
}

// What answering holds of a call beside its body: messages of a few bytes, tools that each have the name of a long
// namespace before theirs, and the copies that several answers begin with.
uint64_t beyond_body(const Call& call, size_t body_bytes) {
  const size_t n = n_answers(call);
  const uint64_t n_copies = n > 1 ? 1 + std::min(n, AnswerGroup::kTogetherMax) : 1;
  return saturating_sub(n_copies * bytes_of_copy(call), uint64_t{body_bytes});
}

constexpr size_t kScoreTextBytes = 100;  // about, of a reply

// About what the reply has of vectors.
size_t bytes_as_text(const EmbedResult& result) {
  constexpr size_t kNumberBytes = 20;
  return result.vectors.empty() ? 0 : result.vectors.size() * result.vectors.front().size() * kNumberBytes;
}

}  // namespace

Routes::Routes(Catalog& catalog, ModelManager& manager, RoutesOptions options)
    : catalog_(catalog), manager_(manager), options_(std::move(options)) {
  if (!options_.unix_s) options_.unix_s = clock_s;
  const auto add = [this](const char* methods, const char* path, Handler handler, bool prefix = false) {
    for (std::string_view rest = methods; !rest.empty();) {
      const size_t end = std::min(rest.find(' '), rest.size());
      routes_[path][std::string(rest.substr(0, end))] = {handler, prefix};
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  };
  add("GET HEAD", "/", &Routes::root);
  add("GET HEAD", "/api/version", &Routes::version);
  add("GET HEAD", "/api/tags", &Routes::tags);
  add("POST", "/api/show", &Routes::show);
  add("GET", "/api/ps", &Routes::ps);
  add("POST", "/api/generate", &Routes::ollama_generate);
  add("POST", "/api/chat", &Routes::ollama_chat);
  add("POST", "/api/embed", &Routes::ollama_embed);
  add("POST", "/api/embeddings", &Routes::ollama_embeddings);
  add("POST", "/api/pull", &Routes::pull);
  add("POST", "/api/push", &Routes::push);
  add("POST", "/api/create", &Routes::create);
  add("POST", "/api/copy", &Routes::copy);
  add("DELETE", "/api/delete", &Routes::remove);
  add("POST HEAD", "/api/blobs/", &Routes::blob, true);
  add("GET", "/api/status", &Routes::cloud_status);
  add("POST", "/api/me", &Routes::cloud_me);
  add("POST", "/api/signout", &Routes::cloud_me);
  add("GET", "/api/experimental/model-recommendations", &Routes::recommendations);
  add("GET POST", "/api/experimental/", &Routes::cloud_refused, true);
  add("GET", "/v1/models", &Routes::openai_models);
  add("GET", "/v1/models/", &Routes::openai_models, true);
  add("POST", "/v1/chat/completions", &Routes::openai_chat);
  add("POST", "/v1/completions", &Routes::openai_completion);
  add("POST", "/v1/embeddings", &Routes::openai_embeddings);
  add("POST", "/v1/responses", &Routes::openai_responses);
  add("POST", "/v1/responses/input_tokens", &Routes::openai_count);
  add("POST", "/v1/chat/completions/input_tokens", &Routes::openai_count);
  add("POST", "/v1/messages", &Routes::anthropic_messages);
  add("POST", "/v1/messages/count_tokens", &Routes::anthropic_count);
  for (const char* path : {"/completion", "/completions"}) add("POST", path, &Routes::llama_completion);
  add("POST", "/infill", &Routes::llama_infill);
  add("GET POST", "/v1/audio/", &Routes::not_done_here, true);
  add("GET POST", "/v1/images/", &Routes::not_done_here, true);
  for (const char* path : {"/v1/moderations", "/v1/systemone", "/v1/realtime", "/v1/fine_tuning/jobs", "/v1/batches",
                           "/v1/files", "/v1/assistants", "/v1/threads"})
    add("GET POST", path, &Routes::not_done_here);
  for (const char* path : {"/v1/rerank", "/v2/rerank", "/v1/reranking", "/rerank", "/reranking"})
    add("POST", path, &Routes::rerank_texts);
  add("GET", "/models", &Routes::openai_models);
  add("GET HEAD", "/health", &Routes::health);
  add("GET HEAD", "/v1/health", &Routes::health);
  add("GET", "/metrics", &Routes::metrics);
  add("GET", "/props", &Routes::props);
  add("GET", "/slots", &Routes::slots);
  add("POST", "/tokenize", &Routes::tokenize);
  add("POST", "/detokenize", &Routes::detokenize);
  add("GET", "/tokenizer_info", &Routes::tokenizer_info);
  add("POST", "/apply-template", &Routes::apply_template);
  add("GET", "/api/spillway/live", &Routes::live);
  add("GET", "/api/spillway/forecast", &Routes::forecast);
  add("GET", "/api/spillway/plan", &Routes::plan);
  add("GET", "/api/spillway/residency", &Routes::residency);
  if (!options_.pages.empty()) {
    add("GET HEAD", "/ui", &Routes::page);
    add("GET HEAD", "/ui/", &Routes::page, true);
  }
}

// Behind a slash too many is what is there without it; Ollama's router redirects. The request stays as it is: a copy
// would have its body.
std::string Routes::path_of(const WebRequest& request) const {
  const std::string& path = request.path;
  if (path.size() < 2 || !path.ends_with('/') || path == "/ui/") return path;
  const std::string without = path.substr(0, path.size() - 1);
  return routes_.contains(without) ? without : path;
}

tl::expected<Routes::Route, WebReply> Routes::find(const WebRequest& request) const {
  const std::string path = path_of(request);
  const bool is_v1 = path.starts_with("/v1/");
  const std::map<std::string, Route>* methods = nullptr;
  if (const auto exact = routes_.find(path); exact != routes_.end()) methods = &exact->second;
  if (methods == nullptr)
    for (const auto& [begin, candidates] : routes_)
      if (candidates.begin()->second.prefix && path.starts_with(begin) && path.size() > begin.size())
        methods = &candidates;
  if (methods == nullptr && is_v1)
    return tl::unexpected(
        WebReply{.status = 404, .body = error_body(request, 404, fmt::format("there is no {} here", shortened(path)))});
  if (methods == nullptr) return tl::unexpected(plain(404, "404 page not found"));
  const auto route = methods->find(request.method);
  if (route != methods->end()) return route->second;
  WebReply refused = plain(405, "405 method not allowed");
  if (is_v1)
    refused = {.status = 405,
               .body = error_body(request, 405, fmt::format("{} takes another method", shortened(path)))};
  std::string allowed;
  for (const auto& [other, ignored] : *methods) allowed += (allowed.empty() ? "" : ", ") + other;
  refused.headers.emplace_back("Allow", std::move(allowed));
  return tl::unexpected(std::move(refused));
}

BodyPlan Routes::plan_body(const WebRequest& head) const {
  auto route = find(head);
  if (!route) return {.refusal = std::move(route.error())};
  // What comes as a form goes to paths that want none of it; it is dropped.
  const bool not_done = route->handler == &Routes::not_done_here;
  return {.in_pieces = not_done || route->handler == &Routes::blob, .takes_forms = not_done};
}

WebReply Routes::handle(const WebRequest& request) {
  auto route = find(request);
  if (!route) return std::move(route.error());
  return (this->*route->handler)(request);
}

WebReply Routes::failure(const Status& failed, Protocol protocol, const WebRequest& request) const {
  const Status status = as_told(failed, request.is_stopping);
  WebReply reply;
  reply.status = http_status(status);
  switch (protocol) {
    case Protocol::kOllama:
      reply.body = ollama_error(status);
      break;
    case Protocol::kOpenAi:
      reply.body = openai_error(status);
      break;
    case Protocol::kAnthropic:
      reply.body = anthropic_error(status, request.id);
      break;
  }
  if (const auto wait_s = retry_after_s(status)) reply.headers.emplace_back("Retry-After", std::to_string(*wait_s));
  return reply;
}

// 1. Steps until there is something to send, or a failure, which has a status as long as nothing is sent. 2. Not
// streamed: all of it. 3. Streamed: what there is, and then each step; heartbeats while there is nothing.
WebReply Routes::answer(const WebRequest& request, Result<Call> parsed, Protocol protocol,
                        std::unique_ptr<AnswerWriter> writer) {
  if (!parsed) return failure(parsed.error(), protocol, request);
  if (const auto told = tell_of_schemas(*parsed, request.asker()); !told)
    return failure(told.error(), protocol, request);
  const std::string not_applied = tell_of(std::exchange(parsed->not_applied, {}));
  WebReply reply = answer_call(request, std::move(*parsed), protocol, std::move(writer));
  if (!not_applied.empty()) reply.headers.emplace_back("X-Spillway-Not-Applied", not_applied);
  return reply;
}

WebReply Routes::answer_call(const WebRequest& request, Call call, Protocol protocol,
                             std::unique_ptr<AnswerWriter> writer) {
  const bool stream = call.stream && !call.load_only;  // loading and unloading have one answer
  if (call.load_only && call.keep_alive_s == 0.0) {
    const auto entry = catalog_.find(call.model);
    if (!entry) return failure(entry.error(), protocol, request);
    manager_.unload(entry->name);
    AnswerEnd end;
    end.unloaded = true;
    WebReply reply;
    reply.body = writer->whole({}, end);
    return reply;
  }
  // Each answer begins with a copy of its call.
  if (n_answers(call) > 1 && bytes_of_copy(call) > kPromptBytesMax)
    return failure(
        {Code::kContextOverflow, fmt::format("{} answers to a request of {} bytes; {} bytes are the most for several",
                                             n_answers(call), bytes_of_copy(call), kPromptBytesMax)},
        protocol, request);
  if (!request.takes(beyond_body(call, request.body.size()))) return failure(too_many_at_once(), protocol, request);
  call.asker = request.asker();
  call.may_take = request.may_take;
  const bool render_only = call.render_only, tells_progress = call.progress;
  // A client that wants to see what is waited for sees it at once; failures then come within the stream.
  const double status_wait_s = tells_progress ? std::min(options_.status_wait_s, kProgress_s) : options_.status_wait_s;
  // Shared by this function and the stream it may return, whose type must be copyable.
  const auto run = std::make_shared<AnswerGroup>(manager_, std::move(call));
  const Stopwatch since_start;
  AnswerRun::Step step;
  std::vector<Answer> answers(run->size());
  size_t n_scores = 0, n_bytes = 0;
  while (true) {
    step = run->step(kPatience);
    if (step.counted) writer->counted(*step.counted);
    if (step.kind == AnswerRun::Step::kFailure) return failure(*step.failure, protocol, request);
    if (step.kind != AnswerRun::Step::kEnd && !request.is_wanted()) return failure(client_left(), protocol, request);
    if (render_only && step.kind == AnswerRun::Step::kPart) return {.body = writer->rendered(step.part.content)};
    if (stream) {
      if (step.kind != AnswerRun::Step::kWaiting || since_start.elapsed_s() > status_wait_s) break;
      continue;
    }
    AnswerPart& all = answers[step.choice].all;
    all.content += step.part.content;
    all.thinking += step.part.thinking;
    for (ToolCall& tool_call : step.part.tool_calls) all.tool_calls.push_back(std::move(tool_call));
    const size_t n_scores_before = n_scores;
    for (TokenScore& score : step.part.scores) {
      n_scores += 1 + score.top.size();
      all.scores.push_back(std::move(score));
    }
    if (!request.takes((n_scores - n_scores_before) * sizeof(TokenScore)))
      return failure(too_many_at_once(), protocol, request);
    n_bytes += step.part.content.size() + step.part.thinking.size();
    if (n_scores > options_.whole_scores_max || n_bytes > options_.whole_bytes_max)
      return failure({Code::kContextOverflow, fmt::format("an answer with more than {} log probabilities or {} MiB of "
                                                          "text is not kept until it is whole; ask for a stream",
                                                          options_.whole_scores_max, options_.whole_bytes_max >> 20)},
                     protocol, request);
    if (step.kind != AnswerRun::Step::kEnd) continue;
    answers[step.choice].end = std::move(step.end);
    if (!run->done()) continue;
    const auto place = place_to_write(request, n_scores * kScoreTextBytes);
    if (!place) return failure(place.error(), protocol, request);
    return {.body = writer->whole_of(answers)};
  }

  WebReply reply;
  reply.content_type = writer->stream_type();
  const Liveness alive{.heartbeat_s = options_.heartbeat_s,
                       .tells_progress = tells_progress,
                       .is_gone = request.is_gone,
                       .is_stopping = request.is_stopping};
  reply.stream = [run, first = std::move(step), writer = std::shared_ptr<AnswerWriter>(std::move(writer)),
                  alive](const WebSink& sink) {
    try {
      send_answer(*run, first, *writer, alive, sink);
    } catch (const std::exception& e) {
      // Its status is sent long ago: the stream itself says so, in the words of its protocol.
      notice(fmt::format("an answer failed: {}", e.what()));
      sink(writer->failure({Code::kInternal, "internal error"}));
    }
  };
  return reply;
}

// ---- calls

WebReply Routes::ollama_chat(const WebRequest& request) {
  auto call = read_body(request, parse_ollama_chat);
  auto writer = call ? make_ollama_writer(*call, options_.unix_s) : nullptr;
  return answer(request, std::move(call), Protocol::kOllama, std::move(writer));
}

WebReply Routes::ollama_generate(const WebRequest& request) {
  auto call = read_body(request, parse_ollama_generate);
  auto writer = call ? make_ollama_writer(*call, options_.unix_s) : nullptr;
  return answer(request, std::move(call), Protocol::kOllama, std::move(writer));
}

WebReply Routes::openai_answer(const WebRequest& request, Result<Call> call, const char* id_prefix,
                               std::unique_ptr<AnswerWriter> (*make_writer)(const Call&, std::string, int64_t)) {
  const auto now_s = static_cast<int64_t>(options_.unix_s());
  auto writer = call ? make_writer(*call, random_id(id_prefix, 24), now_s) : nullptr;
  return answer(request, std::move(call), Protocol::kOpenAi, std::move(writer));
}

WebReply Routes::openai_chat(const WebRequest& request) {
  return openai_answer(request, read_body(request, parse_openai_chat), "chatcmpl-", make_openai_chat_writer);
}

WebReply Routes::openai_completion(const WebRequest& request) {
  return openai_answer(request, read_body(request, parse_openai_completion), "cmpl-", make_openai_completion_writer);
}

WebReply Routes::openai_responses(const WebRequest& request) {
  return openai_answer(request, read_body(request, parse_openai_responses), "resp_", make_openai_responses_writer);
}

WebReply Routes::anthropic_messages(const WebRequest& request) {
  auto call = read_body(request, [](std::string_view body) { return parse_anthropic_messages(body, false); });
  auto writer = call ? make_anthropic_writer(*call, random_id("msg_", 24), request.id) : nullptr;
  return answer(request, std::move(call), Protocol::kAnthropic, std::move(writer));
}

WebReply Routes::anthropic_count(const WebRequest& request) {
  return count(request, read_body(request, [](std::string_view body) { return parse_anthropic_messages(body, true); }),
               Protocol::kAnthropic);
}

WebReply Routes::openai_count(const WebRequest& request) {
  const bool responses = request.path.starts_with("/v1/responses");
  return count(request, read_body(request, responses ? parse_openai_responses : parse_openai_chat), Protocol::kOpenAi);
}

// The tokens of a prompt that is not computed.
WebReply Routes::count(const WebRequest& request, Result<Call> call, Protocol protocol) {
  if (!call) return failure(call.error(), protocol, request);
  if (!request.takes(beyond_body(*call, request.body.size()))) return failure(too_many_at_once(), protocol, request);
  const auto lease = acquire(manager_, call->model, std::nullopt, std::nullopt, request.asker());
  if (!lease) return failure(lease.error(), protocol, request);
  call->asker = request.asker();
  call->count_only = true;
  const auto prepared = prepare_call(**lease, *call);
  if (!prepared) return failure(prepared.error(), protocol, request);
  Json counted = {{"input_tokens", prepared->request.prompt.size()}};
  if (protocol == Protocol::kOpenAi) counted["object"] = "response.input_tokens";
  return {.body = to_text(counted)};
}

// llama-server knows one model; here a request may leave out which, where there is no doubt.
WebReply Routes::llama_answer(const WebRequest& request, Result<Call> call) {
  if (call && call->model.empty()) {
    auto named = model_named(request);
    if (!named) return failure(named.error(), Protocol::kOpenAi, request);
    call->model = std::move(*named);
  }
  auto writer = call ? make_llama_writer(*call) : nullptr;
  return answer(request, std::move(call), Protocol::kOpenAi, std::move(writer));
}

WebReply Routes::llama_completion(const WebRequest& request) {
  return llama_answer(request, read_body(request, parse_llama_completion));
}

WebReply Routes::llama_infill(const WebRequest& request) {
  return llama_answer(request, read_body(request, parse_llama_infill));
}

WebReply Routes::embeddings(const WebRequest& request, const Result<EmbedCall>& call, Protocol protocol,
                            std::string (*reply)(const EmbedCall&, const EmbedResult&)) {
  if (!call) return failure(call.error(), protocol, request);
  const std::string not_applied = tell_of(call->not_applied);
  const auto result = embed(manager_, *call, request.asker(), request.may_take);
  const auto place = place_to_write(request, result ? bytes_as_text(*result) : 0);
  const bool is_made = result && place;
  WebReply told = is_made ? WebReply{.body = reply(*call, *result)}
                          : failure(result ? place.error() : result.error(), protocol, request);
  if (!not_applied.empty()) told.headers.emplace_back("X-Spillway-Not-Applied", not_applied);
  return told;
}

WebReply Routes::ollama_embed(const WebRequest& request) {
  return embeddings(request, read_body(request, parse_ollama_embed), Protocol::kOllama, ollama_embed_reply);
}

WebReply Routes::ollama_embeddings(const WebRequest& request) {
  const auto call = read_body(request, parse_ollama_embeddings);
  WebReply reply = embeddings(request, call, Protocol::kOllama, ollama_embed_reply);
  if (!call || reply.status != 404) return reply;  // this old path has its own words
  return failure({Code::kNotFound, fmt::format("model \"{}\" not found, try pulling it first", call->model)},
                 Protocol::kOllama, request);
}

WebReply Routes::rerank_texts(const WebRequest& request) {
  auto call = read_body(request, parse_rerank);
  if (!call) return failure(call.error(), Protocol::kOpenAi, request);
  if (call->model.empty()) {
    auto named = model_named(request);
    if (!named) return failure(named.error(), Protocol::kOpenAi, request);
    call->model = std::move(*named);
  }
  if (!request.takes(bytes_of(*call))) return failure(too_many_at_once(), Protocol::kOpenAi, request);
  constexpr size_t kItemBytes = 500;  // of the reply's tree
  const auto result = rerank(catalog_, manager_, *call, request.asker());
  const auto place = place_to_write(request, result ? result->ranked.size() * kItemBytes : 0);
  if (result && place) return {.body = rerank_reply(*call, *result)};
  WebReply reply = failure(result ? place.error() : result.error(), Protocol::kOpenAi, request);
  if (!result && result.error().code() == Code::kUnsupported) reply.status = 501;
  return reply;
}

WebReply Routes::openai_embeddings(const WebRequest& request) {
  return embeddings(request, read_body(request, parse_openai_embeddings), Protocol::kOpenAi, openai_embed_reply);
}

}  // namespace spillway
