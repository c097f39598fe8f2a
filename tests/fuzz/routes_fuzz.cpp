// SPDX-License-Identifier: MIT
// Any request to any path, up to the model, which is a scripted one: the reply has a status that HTTP knows, an error
// is JSON with a sentence in it, and a stream ends.
//
// An input is "METHOD /path\n" and the body.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "chat/json_text.h"
#include "serve/fake_models.h"
#include "serve/routes.h"

namespace spillway {
namespace {

constexpr const char* kTemplate =
    "{% if tools %}{{ tools | tojson }}<tool_call></tool_call>{% endif %}{% for message in messages %}<{{ message.role "
    "}}>{{ message.content }}{% endfor %}<assistant>";

struct Server {
  FakeCatalog catalog;
  std::unique_ptr<ModelManager> manager;
  std::unique_ptr<Routes> routes;

  Server() {
    catalog.add("m", {"completion", "tools"}, kTemplate);
    catalog.add("vectors", {"embedding"});
    ManagerOptions options = scripted_manager([](ScriptedEngine& engine, const LoadOptions& load) {
      engine.answer = [](const std::string& prompt) { return prompt.substr(prompt.size() / 2); };
      if (load.path.ends_with("vectors")) engine.info.has_decoder = false;
    });
    options.n_ctx = 200;
    manager = std::make_unique<ModelManager>(catalog, options);
    routes = std::make_unique<Routes>(catalog, *manager, RoutesOptions{.unix_s = [] { return 1.7e9; }});
  }
};

void check(const WebReply& reply, bool may_fail) {
  CHECK(reply.status >= 200 && reply.status < 600 && (may_fail || reply.status != 500));
  if (!reply.stream) {
    const bool json = reply.content_type.starts_with("application/json");
    if (reply.status >= 400 && json && !reply.body.empty())
      CHECK(is_json_object(reply.body) && reply.body.find("error") != std::string::npos);
    CHECK(!json || valid_utf8(reply.body) == reply.body);
    return;
  }
  // A client that reads for a while: an answer may be as long as ten contexts.
  size_t n = 0;
  reply.stream([&](std::string_view bytes) {
    CHECK(!bytes.empty() && valid_utf8(bytes) == bytes);
    return ++n < 50;
  });
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  static Server server;
  const std::string_view input(reinterpret_cast<const char*>(data), bytes);
  const size_t line = std::min(input.find('\n'), input.size()), space = std::min(input.find(' '), line);
  const std::string path(input.substr(std::min(space + 1, line), line - std::min(space + 1, line)));
  if (path == "/api/pull") return 0;  // asks the network
  size_t n_asked = 0;
  // The scripted catalog has no room on its disk, which is no fault of the request.
  const bool may_fail = path.starts_with("/api/blobs/");
  check(server.routes->handle({.method = std::string(input.substr(0, space)),
                               .path = path,
                               .headers = {},
                               .query = {},
                               .body = std::string(input.substr(std::min(line + 1, input.size()))),
                               .remote = "fuzz",
                               .is_gone = [&] { return ++n_asked > 20; },
                               .read_body = {}}),
        may_fail);
  if (server.catalog.models.count("m:latest") == 0) server.catalog.add("m", {"completion", "tools"}, kTemplate);
  while (server.catalog.models.size() > 20) server.catalog.models.erase(std::prev(server.catalog.models.end()));
  return 0;
}
