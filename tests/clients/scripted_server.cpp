// SPDX-License-Identifier: MIT
// scripted_server: all of `spillway serve` but the models. Behind engine.h stands the obedient model, in five forms:
//
//   agent     tools and thinking, 262,144 bytes of context     plain    neither
//   small     as agent, with 600 bytes of context              vectors  embeddings
//   slow      as agent, 2 ms a pass: what must still be running when something else happens
//
// Clients whose words are fixed are told to it by --retold: what a line of the file names is read as the order behind
// the tab.
//
// Ends at SIGTERM; exit code 1 if an engine was used wrongly (a position out of order, a context overrun).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "clients/obedient_model.h"
#include "serve/fake_models.h"
#include "serve/routes.h"
#include "serve/web_server.h"

namespace spillway {
namespace {

constexpr uint32_t kLongContext = 262144, kSmallContext = 600;

void add_models(FakeCatalog& catalog) {
  const std::vector<std::string> all = {"completion", "tools", "thinking"};
  for (const char* name : {"agent", "small", "slow"}) catalog.add(name, all, kObedientTemplate);
  catalog.add("plain", {"completion"});
  catalog.add("vectors", {"embedding"});
  for (auto& [name, model] : catalog.models)
    model.entry.details.context_length = name.starts_with("small") ? kSmallContext : kLongContext;
}

// What is said, and the order that it is read as.
using Retold = std::vector<std::pair<std::string, std::string>>;

Result<Retold> read_retold(const std::string& path) {
  Retold retold;
  if (path.empty()) return retold;
  std::ifstream file(path);
  if (!file) return error(Code::kNotFound, path + " cannot be read");
  for (std::string line; std::getline(file, line);)
    if (const size_t tab = line.find('\t'); tab != std::string::npos && tab > 0)
      retold.emplace_back(line.substr(0, tab), line.substr(tab + 1));
  return retold;
}

std::string retell(std::string prompt, const Retold& retold) {
  for (const auto& [said, order] : retold)
    for (size_t at = 0; (at = prompt.find(said, at)) != std::string::npos; at += order.size())
      prompt.replace(at, said.size(), order);
  return prompt;
}

void prepare(ScriptedEngine& engine, const LoadOptions& load, const Retold& retold) {
  engine.answer = [&retold](std::string_view prompt) { return obey(retell(std::string(prompt), retold)); };
  engine.pass_max = 512;
  engine.info.n_ubatch = 512;
  engine.info.n_ctx_train = kLongContext;
  if (load.path.ends_with("vectors")) engine.info.has_decoder = false;
  if (load.path.ends_with("slow"))
    engine.on_decode = [](std::span<const BatchToken>) -> Result<void> {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return {};
    };
}

Result<int> serve(WebServerOptions web, const ManagerOptions& wanted, const std::string& retold_path) {
  ASSIGN_OR_RETURN(const Retold retold, read_retold(retold_path));
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);

  FakeCatalog catalog;
  add_models(catalog);
  ManagerOptions options =
      scripted_manager([&retold](ScriptedEngine& engine, const LoadOptions& load) { prepare(engine, load, retold); });
  options.n_ctx = wanted.n_ctx;
  options.n_parallel = wanted.n_parallel;
  options.queue_max = wanted.queue_max;
  options.models_max = catalog.models.size();
  ModelManager manager(catalog, options);
  Routes routes(catalog, manager, {.version = "scripted", .unix_s = {}});
  web.log = [](const WebRequest& request, int status, double) {
    fmt::print(stderr, "{} {} {}\n", request.method, request.path, status);
  };
  ASSIGN_OR_RETURN(const auto server, WebServer::start(web, routes));
  fmt::print(stderr, "listening on http://{}:{}\n", web.host, server->port());
  int signal = 0;
  sigwait(&stop_signals, &signal);
  manager.stop();
  server->stop();
  return testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed() ? 1 : 0;
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  CLI::App app("spillway serve without models: a scripted engine answers");
  spillway::WebServerOptions web;
  web.port = 0;
  spillway::ManagerOptions wanted;
  wanted.n_parallel = 1;
  wanted.queue_max = 1;
  app.add_option("--api-key", web.guard.api_key, "Who does not send this key is refused");
  app.add_option("--port", web.port, "Port; 0: any that is free");
  app.add_option("--parallel", wanted.n_parallel, "Requests that one model answers together");
  app.add_option("--queue", wanted.queue_max, "Requests that may wait for a model");
  app.add_option("--context", wanted.n_ctx, "Bytes of context where a request says nothing");
  std::string retold_path;
  app.add_option("--retold", retold_path, "Lines of TEXT, tab, ORDER: what is read as what");
  CLI11_PARSE(app, argc, argv);
  const auto outcome = spillway::serve(web, wanted, retold_path);
  if (!outcome) fmt::print(stderr, "{}\n", outcome.error().message());
  return outcome ? *outcome : 1;
}
