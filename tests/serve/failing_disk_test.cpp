// SPDX-License-Identifier: MIT
// A server, and the disk under one of its models fails: in the middle of a stream, then for whoever comes next, then no
// more. A program of its own, whose pread fails when told to.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "os/temp_folder.h"
#include "serve/json_input.h"
#include "serve/routes.h"
#include "serve/web_client.h"
#include "serve/web_server.h"

namespace {

// Reads of whole pages of this file fail, as weights are read; 0: none do.
std::atomic<ino_t> g_failing_inode{0};

}  // namespace

// The program's own pread stands before the C library's.
extern "C" ssize_t pread(int fd, void* buffer, size_t bytes, off_t offset) {
  struct stat of {};
  if (g_failing_inode != 0 && bytes >= spillway::kPageBytes && ::fstat(fd, &of) == 0 && of.st_ino == g_failing_inode) {
    errno = EIO;
    return -1;
  }
  return ::syscall(SYS_pread64, fd, buffer, bytes, offset);
}

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string model_path(const std::string& name) { return std::string(SPILLWAY_TEST_MODELS) + "/" + name; }

struct Protocol {
  const char* name;
  const char* path;
  const char* body;       // of an answer as long as the context
  const char* last_line;  // of a stream that fails: how it begins
};

class FailingDisk : public testing::TestWithParam<Protocol> {
 protected:
  FailingDisk() {
    auto catalog = Catalog::open({.own_folder = folder_.at("own"),
                                  .ollama_folders = {},
                                  .paths = {model_path("gate-moe.gguf"), model_path("gate-dense.gguf")}});
    EXPECT_TRUE(catalog);
    catalog_ = std::move(*catalog);
    ManagerOptions options;
    options.n_ctx = 2048;
    options.load_engine = [this](LoadOptions load) {
      ++n_loads_;
      load.mode = Mode::kStream;
      load.weights_bytes = std::filesystem::file_size(load.path) * 4 / 10;
      load.extent_bytes_min = kPageBytes;
      load.reader = IoQueueKind::kThreads;
      load.measure_compute = load.keep_heat = false;
      return Engine::load(load);
    };
    manager_ = std::make_unique<ModelManager>(*catalog_, options);
    routes_ = std::make_unique<Routes>(*catalog_, *manager_, RoutesOptions{});
    WebServerOptions web;
    web.port = 0;
    auto server = WebServer::start(web, *routes_);
    EXPECT_TRUE(server) << (server ? "" : server.error().message());
    server_ = std::move(*server);
  }
  ~FailingDisk() override {
    g_failing_inode = 0;
    manager_->stop();
    server_->stop();
  }

  static void break_disk() {
    struct stat of {};
    ASSERT_EQ(::stat(model_path("gate-moe.gguf").c_str(), &of), 0);
    g_failing_inode = of.st_ino;
  }
  WebClient client() const { return WebClient(server_->port()); }
  std::optional<WebAnswer> answer(const std::string& model) const {
    return client().post(
        "/api/generate",
        R"({"model":")" + model +
            R"(","prompt":"one two three","stream":false,"options":{"temperature":0,"num_predict":8,"ignore_eos":true}})");
  }
  static std::string text_of(const std::optional<WebAnswer>& answer) {
    return Json::parse(answer->body)["response"].get<std::string>();
  }

  std::atomic<int> n_loads_ = 0;  // of any model
  TempFolder folder_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<ModelManager> manager_;
  std::unique_ptr<Routes> routes_;
  std::unique_ptr<WebServer> server_;
};

INSTANTIATE_TEST_SUITE_P(
    Protocols, FailingDisk,
    testing::Values(
        Protocol{"Ollama", "/api/chat",
                 R"({"model":"gate-moe","messages":[{"role":"user","content":"hi"}],"options":{"ignore_eos":true}})",
                 R"({"error":")"},
        Protocol{"OpenAi", "/v1/chat/completions",
                 R"({"model":"gate-moe","stream":true,"messages":[{"role":"user","content":"hi"}]})",
                 R"(data: {"error":{"message":")"},
        Protocol{"Responses", "/v1/responses", R"({"model":"gate-moe","stream":true,"input":"hi"})",
                 R"(data: {"type":"response.failed")"},
        Protocol{"Anthropic", "/v1/messages",
                 R"({"model":"gate-moe","stream":true,"max_tokens":2000,"messages":[{"role":"user","content":"hi"}]})",
                 R"(data: {"type":"error","error":{"type":"api_error","message":")"}),
    [](const auto& protocol) { return protocol.param.name; });

TEST_P(FailingDisk, EndsTheStreamUnderWayWithAnErrorAndNothingElse) {
  // 1. While it works.
  const auto before = answer("gate-moe");
  ASSERT_TRUE(before);
  ASSERT_EQ(before->status, 200) << before->body;
  // 2. In the middle of a stream.
  std::string all;
  const auto streamed = client().post(GetParam().path, GetParam().body, {}, [&](std::string_view piece) {
    if (all.empty()) break_disk();
    all += piece;
  });
  ASSERT_TRUE(streamed) << "the stream was cut off";
  EXPECT_EQ(streamed->status, 200);
  EXPECT_THAT(all, Not(HasSubstr("[DONE]")));
  while (all.ends_with('\n')) all.pop_back();
  const size_t end_before = all.rfind('\n');
  ASSERT_NE(end_before, std::string::npos) << "no stream that had begun: " << all;
  const std::string last = all.substr(end_before + 1);
  EXPECT_TRUE(last.starts_with(GetParam().last_line)) << last;
  EXPECT_THAT(last, AllOf(HasSubstr("model 'gate-moe:latest'"), HasSubstr("Input/output error")));
  // 3. While it goes on failing: an error with a status; everybody else is served.
  const auto refused = answer("gate-moe");
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 500);
  EXPECT_THAT(refused->body, HasSubstr("Input/output error"));
  const auto other = answer("gate-dense");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->status, 200) << other->body;
  EXPECT_EQ(client().get("/health")->body, R"({"status":"ok"})");
  // 4. When it works again: the same answer as before, by the engine that was there.
  g_failing_inode = 0;
  const int n_loads = n_loads_;
  const auto after = answer("gate-moe");
  ASSERT_TRUE(after);
  ASSERT_EQ(after->status, 200) << after->body;
  EXPECT_EQ(text_of(after), text_of(before));
  EXPECT_EQ(n_loads_, n_loads);
  EXPECT_EQ(n_loads, 2) << "one for each model";
}

}  // namespace
}  // namespace spillway
