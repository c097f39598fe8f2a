// SPDX-License-Identifier: MIT
// Every path of the server and what is behind it. Knows no sockets: a request comes in, a reply goes out.
//
// Threads: handle() is called by many at once.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/catalog.h"
#include "serve/call.h"
#include "serve/forecast.h"
#include "serve/json_input.h"
#include "serve/model_manager.h"
#include "serve/web.h"

namespace spillway {

struct RoutesOptions {
  std::string version = "0";              // ours
  std::string ollama_version = "0.35.1";  // of the API that we speak; clients compare its numbers
  double status_wait_s = 5;  // so long a failure still has a status of its own; a stream that waits longer begins
  double heartbeat_s = 10;   // a stream that has nothing to say says so this often
  // Of an answer that is kept until it is whole; a log probability of some 500 bytes on its way to JSON.
  size_t whole_scores_max = 400'000, whole_bytes_max = 64 << 20;
  std::function<double()> unix_s;  // the time; null: the clock
  Forecaster forecast{};           // null: none is given
  // Files of the web page by their path ("/ui/index.html"), compiled in.
  std::map<std::string, std::pair<std::string, std::string>> pages{};  // -> content type, bytes
};

class Routes : public WebHandler {
 public:
  Routes(Catalog& catalog, ModelManager& manager, RoutesOptions options);

  // Nothing is read for a path that is not there, or a method that it has not. A blob comes in pieces.
  BodyPlan plan_body(const WebRequest& head) const override;
  WebReply handle(const WebRequest& request) override;

 private:
  using Handler = WebReply (Routes::*)(const WebRequest&);
  struct Route {
    Handler handler;
    bool prefix = false;  // the path goes on
  };
  enum class Protocol { kOllama, kOpenAi, kAnthropic };

  // Of the route. Handlers that look at the path ask here.
  std::string path_of(const WebRequest& request) const;
  // Else the reply that says what is wrong.
  tl::expected<Route, WebReply> find(const WebRequest& request) const;

  // What computes.
  WebReply ollama_chat(const WebRequest& request);
  WebReply ollama_generate(const WebRequest& request);
  WebReply ollama_embed(const WebRequest& request);
  WebReply ollama_embeddings(const WebRequest& request);
  WebReply openai_chat(const WebRequest& request);
  WebReply openai_completion(const WebRequest& request);
  WebReply openai_embeddings(const WebRequest& request);
  WebReply rerank_texts(const WebRequest& request);
  WebReply openai_responses(const WebRequest& request);
  WebReply anthropic_messages(const WebRequest& request);
  WebReply anthropic_count(const WebRequest& request);
  WebReply openai_count(const WebRequest& request);
  WebReply llama_completion(const WebRequest& request);
  WebReply llama_infill(const WebRequest& request);
  WebReply not_done_here(const WebRequest& request);
  // Models.
  WebReply tags(const WebRequest& request);
  WebReply show(const WebRequest& request);
  WebReply ps(const WebRequest& request);
  WebReply copy(const WebRequest& request);
  WebReply remove(const WebRequest& request);
  WebReply create(const WebRequest& request);
  WebReply pull(const WebRequest& request);
  WebReply push(const WebRequest& request);
  WebReply blob(const WebRequest& request);
  WebReply openai_models(const WebRequest& request);
  // The server itself.
  WebReply root(const WebRequest& request);
  WebReply version(const WebRequest& request);
  WebReply health(const WebRequest& request);
  WebReply metrics(const WebRequest& request);
  WebReply props(const WebRequest& request);
  WebReply slots(const WebRequest& request);
  WebReply tokenize(const WebRequest& request);
  WebReply detokenize(const WebRequest& request);
  WebReply tokenizer_info(const WebRequest& request);
  WebReply apply_template(const WebRequest& request);
  WebReply live(const WebRequest& request);
  WebReply residency(const WebRequest& request);
  WebReply plan(const WebRequest& request);
  WebReply forecast(const WebRequest& request);
  WebReply page(const WebRequest& request);
  WebReply cloud_status(const WebRequest& request);
  WebReply cloud_me(const WebRequest& request);
  WebReply cloud_refused(const WebRequest& request);
  WebReply recommendations(const WebRequest& request);

  WebReply answer(const WebRequest& request, Result<Call> call, Protocol protocol,
                  std::unique_ptr<AnswerWriter> writer);
  WebReply answer_call(const WebRequest& request, Call call, Protocol protocol, std::unique_ptr<AnswerWriter> writer);
  WebReply count(const WebRequest& request, Result<Call> call, Protocol protocol);
  WebReply openai_answer(const WebRequest& request, Result<Call> call, const char* id_prefix,
                         std::unique_ptr<AnswerWriter> (*make_writer)(const Call&, std::string, int64_t));
  WebReply llama_answer(const WebRequest& request, Result<Call> call);
  WebReply embeddings(const WebRequest& request, const Result<EmbedCall>& call, Protocol protocol,
                      std::string (*reply)(const EmbedCall&, const EmbedResult&));
  WebReply failure(const Status& failed, Protocol protocol, const WebRequest& request) const;
  WebReply long_job(const WebRequest& request, bool stream,
                    std::function<Result<void>(const std::function<bool(Json)>&)> job);
  // The model a request names in its body (`named`) or query; else the one that is loaded alone, else the only one
  // there is.
  Result<std::string> model_named(const WebRequest& request, const std::string& named = {}) const;

  Catalog& catalog_;
  ModelManager& manager_;
  RoutesOptions options_;
  std::map<std::string, std::map<std::string, Route>> routes_;  // path -> method -> route
};

}  // namespace spillway
