// SPDX-License-Identifier: MIT
// Pulls from a server on the loopback that speaks both protocols, and fails in every way that servers do.
#include "fetch/pull.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <thread>

#include "../model/store_folder.h"
#include "../os/temp_folder.h"
#include "model/catalog.h"
#include "os/draft_file.h"
#include "os/file.h"
#include "test_server.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Ge;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

std::string digest_of(const std::string& content) { return "sha256:" + sha256_hex(content); }

// A model's GGUF with a body of some length behind it, so that there is something to cut.
std::string long_gguf(uint64_t bytes = 300'000) {
  GgufBytes model = chat_model();
  model.tensor({"output.weight", {static_cast<int64_t>(bytes / 4)}});
  return model.bytes();
}

class PullTest : public testing::Test {
 protected:
  PullTest() {
    options_.own_folder = folder_.at("own");
    options_.attempts = 4;
    options_.backoff_first_s = 0.001;
    options_.stall_timeout_s = 1;
    options_.progress = [this](const PullProgress& one) { progress_.push_back(one); };
  }

  // An Ollama registry that has me/it:v1, and Hugging Face with me/it-GGUF; `spoil` may answer in their place.
  using Spoil = std::function<std::optional<TestAnswer>(const TestRequest&)>;
  void start(Spoil spoil = nullptr) {
    server_ = std::make_unique<TestServer>([this, spoil](const TestRequest& request) {
      if (spoil)
        if (auto answer = spoil(request)) return *answer;
      return right_answer(request);
    });
    options_.registry_url = options_.hf_url = server_->url();
  }

  std::string manifest() const {
    return R"({"schemaVersion":2,"config":)" +
           StoreFolder::layer("application/vnd.docker.container.image.v1+json", config_) + R"(,"layers":[)" +
           StoreFolder::layer("application/vnd.ollama.image.model", gguf_) + "," +
           StoreFolder::layer("application/vnd.ollama.image.system", system_) + "]}";
  }

  static std::string hf_file(const std::string& path, const std::string& content) {
    return R"({"type":"file","path":")" + path + R"(","size":)" + std::to_string(content.size()) +
           R"(,"oid":"x","lfs":{"oid":")" + sha256_hex(content) + R"(","size":)" + std::to_string(content.size()) +
           "}}";
  }

  TestAnswer right_answer(const TestRequest& request) const {
    if (request.target == "/v2/me/it/manifests/v1") return {.body = manifest()};
    for (const std::string& content : {gguf_, system_, config_})
      if (request.target == "/v2/me/it/blobs/" + digest_of(content)) return answer_range(request, content);
    if (request.target.starts_with("/api/models/me/it-GGUF/tree/main")) return {.body = "[" + hf_list_ + "]"};
    for (const auto& [path, content] : hf_files_)
      if (request.target == "/me/it-GGUF/resolve/main/" + path) return answer_range(request, content);
    return {.status = 404, .body = "not found"};
  }

  void hf(const std::string& path, const std::string& content) {
    hf_files_[path] = content;
    hf_list_ += (hf_list_.empty() ? "" : ",") + hf_file(path, content);
  }

  bool is_gguf(const TestRequest& request) const { return request.target.find(sha256_hex(gguf_)) != std::string::npos; }

  std::vector<std::string> ranges() const {
    std::vector<std::string> ranges;
    for (const TestRequest& request : server_->requests())
      if (is_gguf(request)) ranges.push_back(request.header("range"));
    return ranges;
  }

  Result<ModelEntry> find(const std::string& name) const {
    return Catalog::open({.own_folder = options_.own_folder, .ollama_folders = {}, .paths = {}}).value()->find(name);
  }

  std::vector<std::string> blobs() const { return files_below(options_.own_folder + "/blobs"); }
  std::string partial_path() const { return options_.own_folder + "/blobs/sha256-" + sha256_hex(gguf_) + "-partial"; }

  void expect_pulled() {
    const auto outcome = pull("me/it:v1", options_);
    ASSERT_TRUE(outcome) << outcome.error().message();
    const auto entry = find("me/it:v1");
    ASSERT_TRUE(entry) << entry.error().message();
    EXPECT_EQ(entry->digest, sha256_hex(manifest()));
    std::ifstream file(entry->path, std::ios::binary);
    EXPECT_TRUE(std::string(std::istreambuf_iterator<char>(file), {}) == gguf_);
    EXPECT_THAT(blobs(), testing::SizeIs(3)) << "no partial file stays";
  }

  // Refused, and no part of the model is visible.
  void expect_refused(Code code, const std::string& words, const std::string& name = "me/it:v1") {
    const auto outcome = pull(name, options_);
    ASSERT_FALSE(outcome);
    EXPECT_STREQ(code_name(outcome.error().code()), code_name(code)) << outcome.error().message();
    EXPECT_THAT(outcome.error().message(), AllOf(HasSubstr(words), Not(HasSubstr("\n"))));
    EXPECT_FALSE(find("me/it:v1"));
    EXPECT_THAT(files_below(options_.own_folder + "/manifests"), IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(options_.own_folder + "/blobs/sha256-" + sha256_hex(gguf_)));
  }

  TempFolder folder_;
  PullOptions options_;
  std::string gguf_ = long_gguf(), system_ = "Be brief.", config_ = R"({"model_format":"gguf"})";
  std::string hf_list_;
  std::map<std::string, std::string> hf_files_;
  std::vector<PullProgress> progress_;
  std::unique_ptr<TestServer> server_;
};

// ---- Ollama registries ----

TEST_F(PullTest, AModelArrivesWholeAndTellsHowFarItIs) {
  start();
  expect_pulled();
  std::vector<std::string> statuses;
  for (const PullProgress& one : progress_)
    if (statuses.empty() || statuses.back() != one.status) statuses.push_back(one.status);
  EXPECT_THAT(statuses, ElementsAre("pulling manifest", "pulling " + sha256_hex(gguf_).substr(0, 12),
                                    "pulling " + sha256_hex(system_).substr(0, 12),
                                    "pulling " + sha256_hex(config_).substr(0, 12), "verifying sha256 digest",
                                    "writing manifest", "success"));
  const auto last = std::find_if(progress_.rbegin(), progress_.rend(),
                                 [&](const PullProgress& one) { return one.digest == digest_of(gguf_); });
  ASSERT_NE(last, progress_.rend());
  EXPECT_EQ(last->total_bytes, gguf_.size());
  EXPECT_EQ(last->completed_bytes, gguf_.size());
  EXPECT_EQ(server_->requests().front().header("accept"), "application/vnd.docker.distribution.manifest.v2+json");
}

TEST_F(PullTest, WhatIsThereIsNotFetchedAgain) {
  start();
  expect_pulled();
  expect_pulled();
  EXPECT_EQ(server_->count(sha256_hex(gguf_)), 1u);
  EXPECT_EQ(server_->count("/manifests/"), 2u);
}

TEST_F(PullTest, WhatOllamaHasIsLinkedAndNotDownloaded) {
  const StoreFolder ollama(folder_.at("ollama"));
  ollama.blob(gguf_);
  write_file(ollama.blob_path(system_), "of another size");
  options_.other_folders = {ollama.path()};
  start();
  expect_pulled();
  EXPECT_EQ(server_->count(sha256_hex(gguf_)), 0u);
  EXPECT_EQ(server_->count(sha256_hex(system_)), 1u);
  EXPECT_EQ(std::filesystem::hard_link_count(ollama.blob_path(gguf_)), 2u);
}

TEST_F(PullTest, ACutInMidBodyIsContinuedWhereItHappened) {
  std::atomic<int> cuts{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request) || cuts++ >= 3) return std::nullopt;
    TestAnswer answer = right_answer(request);
    answer.cut_after = 50'000;
    return answer;
  });
  expect_pulled();
  EXPECT_THAT(ranges(), ElementsAre("", "bytes=50000-", "bytes=100000-", "bytes=150000-"));
  EXPECT_EQ(server_->requests()[2].header("if-range"), "\"v1\"");
}

TEST_F(PullTest, CutsWithProgressNeverUseUpTheAttempts) {
  std::atomic<int> cuts{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request) || cuts++ >= 20) return std::nullopt;
    TestAnswer answer = right_answer(request);
    answer.cut_after = 10'000;
    return answer;
  });
  expect_pulled();
}

TEST_F(PullTest, AServerThatOnlyCutsIsGivenUpAndTheStartIsKept) {
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    TestAnswer answer = right_answer(request);
    answer.cut_after = request.header("range").empty() ? 1000 : 0;
    return answer;
  });
  expect_refused(Code::kUnavailable, "127.0.0.1");
  EXPECT_EQ(std::filesystem::file_size(partial_path()), 1000u);
  // The next pull goes on from there.
  start();
  expect_pulled();
  EXPECT_THAT(ranges(), ElementsAre("bytes=1000-"));
}

TEST_F(PullTest, AServerThatKnowsNoRangesIsReadFromTheStart) {
  std::atomic<int> asked{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    TestAnswer answer{.body = gguf_};
    if (asked++ == 0) answer.cut_after = 1000;
    return answer;
  });
  expect_pulled();
}

TEST_F(PullTest, AFileThatChangedMeanwhileIsReadFromTheStart) {
  std::atomic<int> asked{0};
  const std::string other(gguf_.size(), 'x');
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request) || asked++ > 0) return std::nullopt;
    TestAnswer answer = answer_range(request, other, "\"v0\"");
    answer.cut_after = 1000;
    return answer;
  });
  expect_pulled();
}

TEST_F(PullTest, APartThatWasNotAskedForIsNotTaken) {
  std::atomic<int> asked{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request) || asked > 1) return std::nullopt;
    TestAnswer answer = right_answer(request);
    if (asked++ == 0) {
      answer.cut_after = 1000;
    } else {
      answer.body = gguf_.substr(500);
      answer.headers = {"Content-Range: bytes 500-" + std::to_string(gguf_.size() - 1) + "/" +
                        std::to_string(gguf_.size())};
    }
    return answer;
  });
  expect_pulled();
}

TEST_F(PullTest, ACutAndAWrongPartInTurnAreGivenUp) {
  std::atomic<int> asked{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    EXPECT_LT(++asked, 50);
    if (request.header("range").empty())
      return TestAnswer{.body = gguf_.substr(0, 2000), .content_length = gguf_.size()};
    return TestAnswer{
        .status = 206, .body = "xx", .headers = {"Content-Range: bytes 0-1/" + std::to_string(gguf_.size())}};
  });
  expect_refused(Code::kUnavailable, "");
}

TEST_F(PullTest, AWrongStartFromAnEarlierPullIsFoundAndReplaced) {
  write_file(partial_path(), std::string(1000, 'x'));
  start();
  expect_pulled();
  EXPECT_THAT(ranges(), ElementsAre("bytes=1000-", ""));
}

TEST_F(PullTest, WhileWhatCameBeforeIsHashedItIsToldHowFarThatIs) {
  write_file(partial_path(), gguf_.substr(0, 200'000));
  start();
  expect_pulled();
  std::vector<uint64_t> hashed;
  for (const PullProgress& one : progress_) {
    if (one.status != "checking " + sha256_hex(gguf_).substr(0, 12)) continue;
    EXPECT_EQ(one.digest, digest_of(gguf_));
    EXPECT_EQ(one.total_bytes, gguf_.size());
    hashed.push_back(one.completed_bytes);
  }
  EXPECT_THAT(hashed, ElementsAre(0, 200'000));
}

TEST_F(PullTest, ALeftoverThatIsLongerThanTheFileIsReplaced) {
  write_file(partial_path(), gguf_ + "more");
  start();
  expect_pulled();
}

TEST_F(PullTest, AWholeFileThatOnlyLacksItsNameIsNotFetched) {
  write_file(partial_path(), gguf_);
  start();
  expect_pulled();
  EXPECT_EQ(server_->count(sha256_hex(gguf_)), 0u);
}

TEST_F(PullTest, BytesWithAnotherDigestAreDeleted) {
  std::string wrong = gguf_;
  wrong.back() = static_cast<char>(wrong.back() ^ 1);
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    return answer_range(request, wrong);
  });
  expect_refused(Code::kCorrupt, "digest mismatch");
  EXPECT_THAT(blobs(), IsEmpty());
}

TEST_F(PullTest, AnotherSizeThanTheListSaysIsRefusedBeforeItIsRead) {
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    return TestAnswer{.body = gguf_ + "more"};
  });
  expect_refused(Code::kCorrupt, "its list says");
  EXPECT_THAT(blobs(), IsEmpty());
}

// A page of a proxy's, or a mirror that is being changed.
TEST_F(PullTest, AnotherSizeThanTheListSaysTakesNothingOfWhatCameBefore) {
  write_file(partial_path(), gguf_.substr(0, 1000));
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    return TestAnswer{.body = "please log in"};
  });
  expect_refused(Code::kCorrupt, "its list says");
  EXPECT_EQ(std::filesystem::file_size(partial_path()), 1000u);
}

TEST_F(PullTest, APageOfAnyLengthTakesNothingOfWhatCameBefore) {
  write_file(partial_path(), gguf_.substr(0, 1000));
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    return TestAnswer{
        .body = "please log in", .headers = {"Content-Type: text/html; charset=utf-8"}, .without_length = true};
  });
  expect_refused(Code::kCorrupt, "sent a page");
  EXPECT_EQ(std::filesystem::file_size(partial_path()), 1000u);
}

TEST_F(PullTest, ALengthThatIsNotReachedIsACut) {
  std::atomic<int> asked{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request) || asked++ > 0) return std::nullopt;
    return TestAnswer{.body = gguf_.substr(0, 2000), .content_length = gguf_.size()};
  });
  expect_pulled();
  EXPECT_THAT(ranges(), ElementsAre("", "bytes=2000-"));
}

TEST_F(PullTest, ARedirectIsFollowedAndTheTokenStaysBehind) {
  TestServer elsewhere([&](const TestRequest& request) { return answer_range(request, gguf_); });
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (request.target.starts_with("/token")) return TestAnswer{.body = R"({"token":"secret"})"};
    if (request.header("authorization").empty())
      return TestAnswer{.status = 401,
                        .headers = {"WWW-Authenticate: Bearer realm=\"" + server_->url() +
                                    "/token\",service=\"reg\",scope=\"repository:me/it:pull\""}};
    if (!is_gguf(request)) return std::nullopt;
    return TestAnswer{.status = 307, .headers = {"Location: " + elsewhere.url() + "/cdn/file?signed=1"}};
  });
  expect_pulled();
  EXPECT_EQ(server_->count("/token?service=reg&scope=repository%3Ame/it%3Apull"), 1u);
  ASSERT_THAT(elsewhere.requests(), testing::SizeIs(1));
  EXPECT_EQ(elsewhere.requests()[0].header("authorization"), "");
  EXPECT_EQ(server_->requests().back().header("authorization"), "Bearer secret");
}

// Gives tokens "1", "2", ...: `taken` says which of them is.
class TokenRegistry {
 public:
  // Refuses, or gives a token; else it is another's affair.
  std::optional<TestAnswer> answer(const TestRequest& request, const std::string& url) {
    if (request.target.starts_with("/token")) return TestAnswer{.body = fmt::format(R"({{"token":"{}"}})", ++n_given)};
    if (request.header("authorization") == fmt::format("Bearer {}", taken.load())) return std::nullopt;
    return TestAnswer{.status = 401,
                      .headers = {fmt::format("WWW-Authenticate: Bearer realm=\"{}/token\",service=\"reg\"", url)}};
  }

  std::atomic<int> n_given{0}, taken{1};
};

TEST_F(PullTest, ATokenThatEndsMeanwhileIsAskedForAnew) {
  TokenRegistry registry;
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (auto refused = registry.answer(request, server_->url())) return refused;
    if (!is_gguf(request) || registry.taken >= 4) return std::nullopt;
    TestAnswer answer = right_answer(request);
    answer.cut_after = 50'000;
    ++registry.taken;
    return answer;
  });
  expect_pulled();
  EXPECT_EQ(registry.n_given, 4) << "the other files take the last one";
  EXPECT_THAT(ranges(), Contains("bytes=150000-"));
}

TEST_F(PullTest, WhoGivesTokensAndTakesNoneIsGivenUp) {
  TokenRegistry registry;
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (request.target.find("/blobs/") != std::string::npos) registry.taken = 0;
    return registry.answer(request, server_->url());
  });
  expect_refused(Code::kPermissionDenied, "access denied (401)");
  EXPECT_EQ(registry.n_given, 3);
}

TEST_F(PullTest, AnotherTokenIsAskedForOfTheRegistrysOwnDomainAlone) {
  TestServer elsewhere([&](const TestRequest&) { return TestAnswer{.body = R"({"token":"secret"})"}; });
  TokenRegistry registry;
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    const bool is_blob = request.target.find("/blobs/") != std::string::npos;
    if (is_blob) registry.taken = 0;
    const std::string other = "http://localhost:" + std::to_string(elsewhere.port());
    return registry.answer(request, is_blob ? other : server_->url());
  });
  expect_refused(Code::kPermissionDenied, "which is not of its domain");
  EXPECT_THAT(elsewhere.requests(), IsEmpty());
}

TEST_F(PullTest, ARedirectIsFollowedOnlyWhereItMayLead) {
  TestServer elsewhere([&](const TestRequest& request) { return answer_range(request, gguf_); });
  const std::string port = std::to_string(elsewhere.port());
  const std::vector<std::string> targets = {"http://localhost:" + port + "/x",
                                            "http://0.0.0.0:" + port + "/x",
                                            "file:///etc/passwd",
                                            "ftp://127.0.0.1/x",
                                            "gopher://127.0.0.1:" + port,
                                            "http://"};
  for (const std::string& target : targets) {
    start([&](const TestRequest& request) -> std::optional<TestAnswer> {
      if (!is_gguf(request)) return std::nullopt;
      return TestAnswer{.status = 302, .headers = {"Location: " + target}};
    });
    expect_refused(Code::kPermissionDenied, "which is not followed");
  }
  EXPECT_THAT(elsewhere.requests(), IsEmpty());
}

TEST_F(PullTest, ATokenIsAskedForOfTheRegistrysOwnDomainAlone) {
  TestServer elsewhere([&](const TestRequest&) { return TestAnswer{.body = R"({"token":"secret"})"}; });
  const std::string port = std::to_string(elsewhere.port());
  for (const std::string& realm :
       {"http://localhost:" + port + "/token", "http://127.0.0.1:" + port + "/token",
        std::string("http://169.254.169.254/latest"), std::string("https://evil.example/token"),
        std::string("file:///etc/passwd"), "https://127.0.0.1.evil.example:" + port}) {
    start([&](const TestRequest&) {
      return TestAnswer{.status = 401, .headers = {"WWW-Authenticate: Bearer realm=\"" + realm + "\",service=\"x\""}};
    });
    expect_refused(Code::kPermissionDenied, "which is not of its domain");
  }
  EXPECT_THAT(elsewhere.requests(), IsEmpty());
}

TEST_F(PullTest, ARedirectWithoutEndIsRefused) {
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    return TestAnswer{.status = 302, .headers = {"Location: " + request.target}};
  });
  expect_refused(Code::kUnsupported, "redirect");
}

TEST_F(PullTest, WhatTheServerDoesNotHaveIsNotFound) {
  start();
  expect_refused(Code::kNotFound, "model 'me/absent:v1' not found on 127.0.0.1", "me/absent:v1");
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request)) return std::nullopt;
    return TestAnswer{.status = 404};
  });
  expect_refused(Code::kNotFound, "not found (404)");
}

TEST_F(PullTest, AServerThatWantsAnotherKeyIsNotAskedAgain) {
  start([](const TestRequest&) { return TestAnswer{.status = 401}; });
  expect_refused(Code::kPermissionDenied, "access denied (401)");
  EXPECT_EQ(server_->requests().size(), 1u);
  start([](const TestRequest&) { return TestAnswer{.status = 403}; });
  expect_refused(Code::kPermissionDenied, "access denied (403)");
}

TEST_F(PullTest, ABusyServerIsAskedAgainAndThenGivenUp) {
  std::atomic<int> asked{0};
  start([&](const TestRequest&) -> std::optional<TestAnswer> {
    if (asked++ >= 3) return std::nullopt;
    return TestAnswer{.status = asked == 1 ? 429 : 503, .headers = {"Retry-After: 0"}};
  });
  expect_pulled();
  start([](const TestRequest& request) -> std::optional<TestAnswer> {
    if (request.target.find("/other/") == std::string::npos) return std::nullopt;
    return TestAnswer{.status = 500};
  });
  const auto outcome = pull("me/other:v1", options_);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::kUnavailable);
  EXPECT_EQ(server_->count("/other/"), options_.attempts);
}

TEST_F(PullTest, ASilentServerIsLeftAndAskedAgain) {
  std::atomic<int> asked{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request) || asked++ > 0) return std::nullopt;
    TestAnswer answer = right_answer(request);
    answer.silent_after = 3000;
    return answer;
  });
  expect_pulled();
  EXPECT_THAT(ranges(), ElementsAre("", "bytes=3000-"));
}

TEST_F(PullTest, NobodyThereIsUnavailableAtOnce) {
  // Whoever waited to try again would be asked whether to go on, again and again.
  options_.backoff_first_s = 15;
  options_.cancelled = [n = 0]() mutable { return ++n > 100; };
  {
    TestServer gone([](const TestRequest&) { return TestAnswer(); });
    options_.registry_url = gone.url();
  }
  expect_refused(Code::kUnavailable, "127.0.0.1");
}

TEST_F(PullTest, AManifestThatIsNoneIsRefused) {
  for (const std::string& text :
       {std::string("<html>"), std::string("{}"),
        std::string(
            R"({"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../x","size":1}]})")}) {
    start([&](const TestRequest&) { return TestAnswer{.body = text}; });
    expect_refused(Code::kCorrupt, "manifest is damaged");
  }
  start([](const TestRequest&) { return TestAnswer{.body = R"({"layers":[]})"}; });
  expect_refused(Code::kUnsupported, "no GGUF");
  const std::string model = StoreFolder::layer("application/vnd.ollama.image.model", gguf_);
  const std::string license =
      R"({"mediaType":"application/vnd.ollama.image.license","digest":")" + digest_of(gguf_) + R"(","size":5})";
  start([&](const TestRequest&) { return TestAnswer{.body = R"({"layers":[)" + model + "," + license + "]}"}; });
  expect_refused(Code::kCorrupt, "one layer has two sizes");
  std::string layers = model;
  for (int i = 0; i < 2048; ++i) layers += "," + StoreFolder::layer("application/vnd.ollama.image.license", "x");
  start([&](const TestRequest&) { return TestAnswer{.body = R"({"layers":[)" + layers + "]}"}; });
  expect_refused(Code::kUnsupported, "2049 layers");
  start([](const TestRequest&) { return TestAnswer{.body = std::string(5 << 20, 'x')}; });
  expect_refused(Code::kCorrupt, "larger than");
}

TEST_F(PullTest, WhatIsNoModelReplacesNone) {
  start();
  expect_pulled();
  const std::string good = gguf_, whole = long_gguf();
  for (const std::string& content :
       {std::string("hello world"), std::string(), whole.substr(0, 4), whole.substr(0, 300),
        whole.substr(0, whole.size() - 1), projector_gguf().bytes()}) {
    gguf_ = content;
    start();
    const auto outcome = pull("me/it:v1", options_);
    ASSERT_FALSE(outcome) << content.size();
    EXPECT_THAT(outcome.error().message(), AllOf(StartsWith("me/it:v1: what came is no model"), Not(HasSubstr("\n"))));
    const auto entry = find("me/it:v1");
    ASSERT_TRUE(entry) << entry.error().message();
    EXPECT_TRUE(read_text_file(entry->path).value() == good);
    EXPECT_THAT(blobs(), testing::SizeIs(3)) << "what is no model goes again";
  }
}

TEST_F(PullTest, AProjectorThatIsNoneReplacesNoModel) {
  start();
  expect_pulled();
  const std::string good = manifest(), whole = projector_gguf().tensor({"v.patch_embd.weight", {4096}}).bytes();
  std::string projector;
  const Spoil with_projector = [&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (request.target.ends_with(digest_of(projector))) return answer_range(request, projector);
    if (!request.target.ends_with("/manifests/v1")) return std::nullopt;
    std::string with = good;
    with.insert(with.size() - 2, "," + StoreFolder::layer("application/vnd.ollama.image.projector", projector));
    return TestAnswer{.body = with};
  };
  for (const std::string& content :
       {std::string("hello"), long_gguf(1000), whole.substr(0, 60), whole.substr(0, whole.size() - 1)}) {
    projector = content;
    start(with_projector);
    const auto outcome = pull("me/it:v1", options_);
    ASSERT_FALSE(outcome) << content.size();
    EXPECT_THAT(outcome.error().message(), AllOf(StartsWith("me/it:v1: what came is no model"), Not(HasSubstr("\n"))));
    const auto entry = find("me/it:v1");
    ASSERT_TRUE(entry) << entry.error().message();
    EXPECT_EQ(entry->digest, sha256_hex(good));
    EXPECT_THAT(blobs(), testing::SizeIs(3)) << "what is no projector goes again";
  }
  for (const bool sees : {true, false}) {  // one of sound is one
    projector = projector_gguf(sees).bytes();
    start(with_projector);
    const auto outcome = pull("me/it:v1", options_);
    EXPECT_TRUE(outcome) << outcome.error().message();
  }
}

// Whoever uses the model reads them whole, and would fail.
TEST_F(PullTest, ATextThatNobodyWouldReadReplacesNoModel) {
  start();
  expect_pulled();
  for (std::string* text : {&system_, &config_}) {
    const std::string before = *text;
    text->append((4 << 20) + 1, ' ');
    start();
    const auto outcome = pull("me/it:v1", options_);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code(), Code::kUnsupported);
    EXPECT_THAT(outcome.error().message(), HasSubstr("where 4 MiB are the most"));
    EXPECT_EQ(server_->count("/blobs/"), 0u) << "nothing was fetched";
    *text = before;
    EXPECT_TRUE(find("me/it:v1"));
  }
}

TEST_F(PullTest, AnAdapterThatIsNoneComesWithNoModel) {
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!request.target.ends_with("/manifests/v1")) return std::nullopt;
    return TestAnswer{.body = R"({"layers":[)" + StoreFolder::layer("application/vnd.ollama.image.model", gguf_) + "," +
                              StoreFolder::layer("application/vnd.ollama.image.adapter", system_) + "]}"};
  });
  expect_refused(Code::kCorrupt, "what came is no model");
  EXPECT_THAT(blobs(), IsEmpty());
}

TEST_F(PullTest, CancellingKeepsWhatCameAndTheNextPullContinues) {
  gguf_ = long_gguf(30'000'000);
  start();
  std::atomic<bool> stop{false};
  auto keep = options_.progress;
  options_.progress = [&](const PullProgress& one) {
    keep(one);
    if (one.completed_bytes > 0) stop = true;
  };
  options_.cancelled = [&] { return stop.load(); };
  options_.stall_timeout_s = 30;
  std::atomic<int> asked{0};
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (!is_gguf(request) || asked++ > 0) return std::nullopt;
    TestAnswer answer = right_answer(request);
    answer.silent_after = 10'000'000;
    return answer;
  });
  expect_refused(Code::kCancelled, "");
  EXPECT_THAT(std::filesystem::file_size(partial_path()), Ge(1u));
  options_.cancelled = nullptr;
  expect_pulled();
  EXPECT_THAT(ranges().back(), StartsWith("bytes="));
}

TEST_F(PullTest, TwoPullsAtOnceFetchOnce) {
  start();
  options_.progress = nullptr;
  std::vector<std::thread> threads;
  std::atomic<int> succeeded{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      const auto outcome = pull("me/it:v1", options_);
      EXPECT_TRUE(outcome) << outcome.error().message();
      if (outcome) ++succeeded;
    });
  for (auto& one : threads) one.join();
  EXPECT_EQ(succeeded, 4);
  EXPECT_EQ(server_->count(sha256_hex(gguf_)), 1u);
  expect_pulled();
}

TEST_F(PullTest, AFileThatAnotherProcessHoldsAndAddsNothingToIsGivenUp) {
  start();
  const auto held = DraftFile::try_open(partial_path());
  ASSERT_TRUE(held && *held);
  options_.other_pull_timeout_s = 0;
  expect_refused(Code::kBusy, partial_path());
  EXPECT_THAT(progress_.back().status, AllOf(StartsWith("waiting for another pull"), HasSubstr(partial_path())));
}

TEST_F(PullTest, AFileThatAnotherProcessOnlyLooksAtIsWaitedFor) {
  start();
  auto held = DraftFile::try_open(partial_path()).value();
  ASSERT_TRUE(held && held->append(gguf_.substr(0, 1000)));
  options_.other_pull_timeout_s = 0.5;
  options_.cancelled = [&] {  // some times a second
    if (held) held->touch();
    return false;
  };
  size_t n_told = 0;
  options_.progress = [&](const PullProgress& one) {
    if (!one.status.starts_with("waiting for another pull")) return;
    EXPECT_EQ(one.digest, digest_of(gguf_));
    EXPECT_EQ(one.total_bytes, gguf_.size());
    EXPECT_EQ(one.completed_bytes, 1000u);
    if (++n_told == 2) held.reset();
  };
  expect_pulled();
  EXPECT_EQ(ranges(), std::vector<std::string>{"bytes=1000-"});
  EXPECT_EQ(n_told, 2u);
}

TEST_F(PullTest, AFileThatIsRemovedBeforeTheModelHasItsNameIsFetchedAgain) {
  start();
  bool removed = false;
  options_.progress = [&](const PullProgress& one) {
    if (one.status != "writing manifest" || std::exchange(removed, true)) return;
    std::filesystem::remove(options_.own_folder + "/blobs/sha256-" + sha256_hex(gguf_));
  };
  expect_pulled();
  EXPECT_EQ(server_->count(sha256_hex(gguf_)), 2u);
}

TEST_F(PullTest, WhatCouldNotBeLookedAtStaysAndIsNotFetchedAgain) {
  start();
  const std::string blob = options_.own_folder + "/blobs/sha256-" + sha256_hex(gguf_), kept = folder_.at("kept");
  options_.progress = [&](const PullProgress& one) {
    if (one.status != "verifying sha256 digest") return;
    std::filesystem::rename(blob, kept);
    std::filesystem::create_symlink(blob, blob);  // one that no file system follows
  };
  const auto outcome = pull("me/it:v1", options_);
  ASSERT_FALSE(outcome);
  EXPECT_STREQ(code_name(outcome.error().code()), code_name(Code::kIo));
  EXPECT_THAT(outcome.error().message(), HasSubstr("could not be looked at"));
  ASSERT_TRUE(std::filesystem::is_symlink(blob));
  std::filesystem::rename(kept, blob);
  options_.progress = nullptr;
  expect_pulled();
  EXPECT_EQ(server_->count(sha256_hex(gguf_)), 1u);
}

TEST_F(PullTest, PlainHttpIsUsedOnlyWhenAllowed) {
  start();
  const std::string host = "127.0.0.1:" + std::to_string(server_->port());
  options_.registry_url.clear();
  expect_refused(Code::kInvalidArgument, "--insecure", "http://" + host + "/me/it:v1");
  options_.insecure = true;
  ASSERT_TRUE(pull("http://" + host + "/me/it:v1", options_));
  EXPECT_TRUE(find(host + "/me/it:v1"));
}

TEST_F(PullTest, NamesThatAreNoneAreNotAskedFor) {
  start();
  for (const char* name : {"", "../x", "a/b/c/d", "me/it:../v1", "me/it?x=y"})
    expect_refused(Code::kInvalidArgument, "invalid model name", name);
  EXPECT_THAT(server_->requests(), IsEmpty());
}

// ---- full disks ----

// A file system of 40 MiB. Only root may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(std::string path) : path_(std::move(path)) {
    std::filesystem::create_directories(path_);
    mounted_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=40m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  const std::string path_;
  bool mounted_ = false;
};

TEST_F(PullTest, WhatCanNotFitIsRefusedBeforeItIsFetched) {
  const SmallDisk disk(options_.own_folder);
  if (!disk.mounted()) GTEST_SKIP() << "needs root to mount a small file system";
  gguf_ = long_gguf(60'000'000);
  start();
  expect_refused(Code::kDiskFull, "to download");
  EXPECT_EQ(server_->count("/blobs/"), 0u);
  EXPECT_THAT(files_below(options_.own_folder), IsEmpty());
}

TEST_F(PullTest, RoomIsAskedOfTheDiskThatTheBlobsAreOn) {
  const SmallDisk disk(folder_.at("small"));
  if (!disk.mounted()) GTEST_SKIP() << "needs root to mount a small file system";
  std::filesystem::create_directories(options_.own_folder);
  std::filesystem::create_directory_symlink(folder_.at("small"), options_.own_folder + "/blobs");
  gguf_ = long_gguf(60'000'000);
  start();
  expect_refused(Code::kDiskFull, options_.own_folder + "/blobs: ");
  EXPECT_EQ(server_->count("/blobs/"), 0u);
}

TEST_F(PullTest, ADiskThatFillsUpLeavesNothingBehind) {
  const SmallDisk disk(options_.own_folder);
  if (!disk.mounted()) GTEST_SKIP() << "needs root to mount a small file system";
  gguf_ = long_gguf(20'000'000);
  start();
  const std::string filler = options_.own_folder + "/filler";
  options_.progress = [&](const PullProgress& one) {
    if (one.digest.empty() || std::filesystem::exists(filler)) return;
    write_file(filler, std::string(36 << 20, 'x'));  // somebody else's
  };
  expect_refused(Code::kDiskFull, "No space left");
  EXPECT_THAT(files_below(options_.own_folder), ElementsAre("filler"));
  std::filesystem::remove(filler);
  options_.progress = nullptr;
  expect_pulled();
}

// ---- Hugging Face ----

TEST_F(PullTest, AQuantizationOfARepositoryIsPulledUnderItsName) {
  hf("it-Q8_0.gguf", "another");
  hf("it-Q4_K_M.gguf", gguf_);
  start();
  options_.hf_token = "hf_secret";
  const auto outcome = pull("hf.co/me/it-GGUF:q4_k_m", options_);
  ASSERT_TRUE(outcome) << outcome.error().message();
  const auto entry = find("hf.co/me/it-GGUF:Q4_K_M");
  ASSERT_TRUE(entry) << entry.error().message();
  EXPECT_EQ(entry->details.family, "llama");
  EXPECT_EQ(entry->details.quantization_level, "Q4_K_M");
  EXPECT_EQ(server_->count("Q8_0"), 0u);
  for (const TestRequest& request : server_->requests())
    EXPECT_EQ(request.header("authorization"), "Bearer hf_secret") << request.target;
}

TEST_F(PullTest, TheTokenStaysWithHuggingFaceWhenItRedirects) {
  hf("it-Q4_K_M.gguf", gguf_);
  TestServer cdn([&](const TestRequest& request) { return answer_range(request, gguf_); });
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (request.target.find("/resolve/") == std::string::npos) return std::nullopt;
    return TestAnswer{.status = 302, .headers = {"Location: " + cdn.url() + "/x"}};
  });
  options_.hf_token = "hf_secret";
  ASSERT_TRUE(pull("hf.co/me/it-GGUF", options_));
  EXPECT_THAT(cdn.requests(), testing::SizeIs(2)) << "what it is, and all of it";
  for (const TestRequest& request : cdn.requests()) EXPECT_EQ(request.header("authorization"), "");
}

TEST_F(PullTest, ASplitModelIsPulledWithAllItsPartsAndOpens) {
  GgufBytes first = chat_model(), second;
  first.key_u16("split.count", 2);
  second.key_u16("split.no", 1).key_u16("split.count", 2);
  second.tensor({"blk.1.attn_q.weight", {32, 32}, 8});
  hf("Q4_K_M/it-Q4_K_M-00001-of-00002.gguf", first.bytes());
  hf("Q4_K_M/it-Q4_K_M-00002-of-00002.gguf", second.bytes());
  start();
  ASSERT_TRUE(pull("hf.co/me/it-GGUF:Q4_K_M", options_));
  const auto entry = find("hf.co/me/it-GGUF:Q4_K_M").value();
  EXPECT_THAT(entry.path, testing::EndsWith("-00001-of-00002.gguf"));
  EXPECT_EQ(entry.details.parameter_size, "4K");
}

TEST_F(PullTest, AProjectorOfImagesComesWithItsModel) {
  const std::string seeing = projector_gguf().bytes();
  hf("Q4_K_M/it-Q4_K_M.gguf", gguf_);
  hf("mmproj-BF16.gguf", projector_gguf().key("of", "BF16").bytes());
  hf("mmproj-F16.gguf", seeing);
  hf("mmproj-Audio-F16.gguf", projector_gguf(false).bytes());
  hf("imatrix.gguf", "no model");
  start();
  std::vector<std::string> said;
  options_.progress = [&](const PullProgress& one) { said.push_back(one.status); };
  ASSERT_TRUE(pull("hf.co/me/it-GGUF:Q4_K_M", options_));
  EXPECT_THAT(said, testing::Contains("found mmproj-F16.gguf"));
  const auto entry = find("hf.co/me/it-GGUF:Q4_K_M");
  ASSERT_TRUE(entry) << entry.error().message();
  EXPECT_EQ(read_text_file(entry->projector_path).value(), seeing);
  EXPECT_EQ(read_text_file(entry->path).value(), gguf_);
  EXPECT_THAT(entry->capabilities, testing::Contains("vision"));

  options_.projectors = false;
  ASSERT_TRUE(pull("hf.co/me/it-GGUF:Q4_K_M", options_));
  EXPECT_EQ(find("hf.co/me/it-GGUF:Q4_K_M")->projector_path, "");
}

TEST_F(PullTest, AProjectorThatMayBelongToAnotherModelStaysWhereItIs) {
  hf("one-Q4_K_M.gguf", gguf_);
  hf("two-Q4_K_M.gguf", "another");
  hf("mmproj-F16.gguf", projector_gguf().bytes());
  hf("mmproj-two-F16.gguf", projector_gguf().bytes());
  start();
  ASSERT_TRUE(pull("hf.co/me/it-GGUF/one-Q4_K_M.gguf", options_));
  EXPECT_EQ(find("hf.co/me/it-GGUF/one-Q4_K_M.gguf")->projector_path, "");
}

TEST_F(PullTest, AListInSeveralPagesIsReadToItsEnd) {
  hf("it-Q4_K_M.gguf", gguf_);
  start([&](const TestRequest& request) -> std::optional<TestAnswer> {
    if (request.target != "/api/models/me/it-GGUF/tree/main?recursive=true") return std::nullopt;
    return TestAnswer{
        .body = "[" + hf_file("readme.md", "x") + "]",
        .headers = {"Link: <" + server_->url() + "/api/models/me/it-GGUF/tree/main?page=2>; rel=\"next\""}};
  });
  ASSERT_TRUE(pull("hf.co/me/it-GGUF", options_));
  TestServer elsewhere([](const TestRequest&) { return TestAnswer{.body = "[]"}; });
  start([&](const TestRequest&) {
    return TestAnswer{.body = "[]", .headers = {"Link: <" + elsewhere.url() + "/list>; rel=\"next\""}};
  });
  const auto refused = pull("hf.co/me/it-GGUF:Q8_0", options_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(elsewhere.requests(), IsEmpty());
}

TEST_F(PullTest, AListThatGoesOnAndOnIsGivenUp) {
  const std::string page = "[" + hf_file("readme.md", "x") + std::string(20 << 20, ' ') + "]";
  start([&](const TestRequest&) {
    return TestAnswer{.body = page, .headers = {"Link: <" + server_->url() + "/api/next>; rel=\"next\""}};
  });
  expect_refused(Code::kCorrupt, "larger than", "hf.co/me/it-GGUF");
  EXPECT_THAT(server_->requests(), testing::SizeIs(4)) << "64 MiB of all pages together";

  for (int i = 0; i < 5001; ++i) hf_list_ += (i > 0 ? "," : "") + hf_file(fmt::format("it-{}.gguf", i), "x");
  start();
  expect_refused(Code::kUnsupported, "more than 5000 GGUF files", "hf.co/me/it-GGUF");
}

TEST_F(PullTest, OfManyFilesThatMayBeMeantSomeAreAskedFor) {
  hf("it-Q4_K_M.gguf", gguf_);
  for (int i = 0; i < 200; ++i) {
    hf(fmt::format("broken-{}-Q3_K_S.gguf", i), "x");
    hf(fmt::format("mmproj-{:03}.gguf", i), "x");
  }
  start();
  ASSERT_TRUE(pull("hf.co/me/it-GGUF", options_));
  EXPECT_EQ(server_->count("/resolve/main/mmproj-"), 100u);
  start();
  const auto refused = pull("hf.co/me/it-GGUF:Q3_K_S", options_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("name the file (hf.co/me/it-GGUF/FILE.gguf)"));
  EXPECT_EQ(server_->count("/resolve/"), 100u);

  int n_left = 3;
  options_.cancelled = [&] { return --n_left < 0; };
  start();
  const auto cancelled = pull("hf.co/me/it-GGUF:Q3_K_S", options_);
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), Code::kCancelled);
  EXPECT_LE(server_->count("/resolve/"), 3u);
}

TEST_F(PullTest, ARepositoryThatIsNotThereOrHasNoSuchFileSaysWhatToDo) {
  hf("it-Q8_0.gguf", gguf_);
  start();
  expect_refused(Code::kNotFound, "nothing is called 'Q3_K_S'; there is: it-Q8_0", "hf.co/me/it-GGUF:Q3_K_S");
  expect_refused(Code::kNotFound, "hf.co/me/absent", "hf.co/me/absent:Q8_0");
  start([](const TestRequest&) { return TestAnswer{.status = 401}; });
  expect_refused(Code::kPermissionDenied, "HF_TOKEN", "hf.co/me/it-GGUF:Q8_0");
  // No token helps where the way is refused here.
  start([](const TestRequest&) { return TestAnswer{.status = 302, .headers = {"Location: http://localhost:1/x"}}; });
  const auto refused = pull("hf.co/me/it-GGUF:Q8_0", options_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kPermissionDenied);
  EXPECT_THAT(refused.error().message(),
              AllOf(StartsWith("hf.co/me/it-GGUF: "), HasSubstr("which is not followed"), Not(HasSubstr("HF_TOKEN"))));
}

TEST_F(PullTest, AFileThatIsNoModelDoesNotBecomeOne) {
  hf("it-Q8_0.gguf", "this is text");
  start();
  const auto outcome = pull("hf.co/me/it-GGUF:Q8_0", options_);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::kCorrupt);
  EXPECT_THAT(files_below(options_.own_folder + "/manifests"), IsEmpty());
}

}  // namespace
}  // namespace spillway
