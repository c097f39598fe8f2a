// SPDX-License-Identifier: MIT
// plan and inspect of models that are not here, from the outside: the built program, and a small hub of our own that
// has models of 70 billion and a trillion parameters as far as their metadata.
#include <gmock/gmock.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "fetch/fake_hub.h"
#include "model/hub_cache_folder.h"
#include "model/store_folder.h"
#include "os/temp_folder.h"
#include "process.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;
using Json = nlohmann::json;

constexpr uint64_t kMiB = 1 << 20;

class RemotePlanTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    models_ = std::make_unique<TempFolder>();
    make("dense", {"--preset", "llama-70b", "--type", "Q4_K_M"});
    make("dense-Q8", {"--preset", "llama-70b", "--type", "Q8_0"});
    make("dense-Q2", {"--preset", "llama-70b", "--type", "Q2_K"});
    make("huge", {"--preset", "moe-1t", "--shards", "8"});
    make("tiny", {"--preset", "tiny-moe"}, false);
  }
  static void TearDownTestSuite() { models_.reset(); }
  static void make(const std::string& name, std::vector<std::string> options, bool sparse = true) {
    options.insert(options.begin(), SPILLWAY_MAKE_MODEL);
    options.insert(options.end(), {"--out", path(name)});
    if (sparse) options.emplace_back("--sparse");
    const ProcessOutcome made = run_process(options);
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  static std::string path(const std::string& name) { return models_->at(name + ".gguf"); }
  static FakeHub::File file(const std::string& name) { return {.content = {}, .disk_path = path(name)}; }

  RemotePlanTest() {
    ::setenv("HOME", folder_.path().c_str(), 1);
    ::setenv("SPILLWAY_MODELS", folder_.at("own").c_str(), 1);
    ::setenv("OLLAMA_MODELS", folder_.at("ollama").c_str(), 1);
    ::setenv("SPILLWAY_CACHE_DIR", folder_.at("cache").c_str(), 1);
    ::setenv("HF_ENDPOINT", hub_.url().c_str(), 1);
    ::setenv("SPILLWAY_REGISTRY", hub_.url().c_str(), 1);
    ::setenv("no_proxy", "127.0.0.1", 1);
    for (const char* name : {"HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"})
      ::unsetenv(name);
  }

  void add_dense_repository() {
    hub_.add("me/dense-GGUF", "dense-Q4_K_M.gguf", file("dense"));
    hub_.add("me/dense-GGUF", "dense-Q8_0.gguf", file("dense-Q8"));
    hub_.add("me/dense-GGUF", "Q2_K/dense-Q2_K.gguf", file("dense-Q2"));
    GgufBytes projector;
    projector.key("general.architecture", "clip").tensor({"v.x", {32}});
    hub_.add("me/dense-GGUF", "mmproj-F16.gguf", projector.bytes());
  }

  static ProcessOutcome spillway(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), SPILLWAY);
    return run_process(arguments);
  }
  static Json json_of(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    const ProcessOutcome out = spillway(std::move(arguments));
    EXPECT_EQ(out.exit_code, 0) << out.err;
    return Json::parse(out.out, nullptr, false);
  }
  static void fails(const std::vector<std::string>& arguments, const std::string& words) {
    const ProcessOutcome out = spillway(arguments);
    EXPECT_EQ(out.exit_code, 1) << out.out;
    EXPECT_EQ(out.out, "");
    EXPECT_THAT(out.err, AllOf(StartsWith("spillway: "), HasSubstr(words), EndsWith("\n")));
    EXPECT_EQ(std::count(out.err.begin(), out.err.end(), '\n'), 1) << out.err;
  }
  // Every file that a run left, of all that it may write to.
  std::vector<std::string> left() const { return files_below(folder_.path()); }

  static std::unique_ptr<TempFolder> models_;
  TempFolder folder_;
  FakeHub hub_;
};
std::unique_ptr<TempFolder> RemotePlanTest::models_;

TEST_F(RemotePlanTest, AModelThatIsNotHereIsPlannedAsItWillBeOnceItIs) {
  add_dense_repository();
  for (const char* machine : {"m1-max-32gb", "gaming-pc-24gb", "m3-ultra-512gb"}) {
    Json there = json_of({"plan", "hf.co/me/dense-GGUF:Q4_K_M", "--profile", machine, "--tensors"});
    Json here = json_of({"plan", path("dense"), "--profile", machine, "--tensors"});
    EXPECT_EQ(there["remote"]["file"], "dense-Q4_K_M.gguf");
    EXPECT_EQ(there["remote"]["download_bytes"], std::filesystem::file_size(path("dense")));
    there.erase("remote");
    there["model"].erase("files");
    here["model"].erase("files");
    EXPECT_EQ(there, here) << machine;
  }
  EXPECT_LT(hub_.bytes_sent(), 3 * 2 * 8 * kMiB);
  EXPECT_THAT(left(), testing::IsEmpty());
}

TEST_F(RemotePlanTest, ATrillionParametersInPartsAreAFewMegabytes) {
  for (int part = 1; part <= 8; ++part) {
    const std::string name = "huge-0000" + std::to_string(part) + "-of-00008";
    hub_.add("me/huge", "Q4_K_M/" + name + ".gguf", file(name));
  }
  const ProcessOutcome out = spillway({"plan", "hf.co/me/huge:Q4_K_M", "--profile", "m3-max-48gb"});
  ASSERT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(out.out, AllOf(HasSubstr("not here"), HasSubstr("to download"), HasSubstr("figures")));
  EXPECT_LT(hub_.bytes_sent(), 16 * kMiB);
  const Json model = json_of({"inspect", "hf.co/me/huge"});
  EXPECT_GT(model["params"], 900e9);
  EXPECT_EQ(model["files"].size(), 8u);
  EXPECT_GT(model["remote"]["size_bytes"], 100e9);
}

TEST_F(RemotePlanTest, EveryModelOfARepositoryIsPlannedAndTheBestThatIsFastEnoughMarked) {
  add_dense_repository();
  const Json all = json_of({"plan", "hf.co/me/dense-GGUF", "--profile", "m1-max-32gb"});
  std::vector<std::string> names;
  std::vector<double> speeds;
  for (const auto& one : all["models"]) {
    names.push_back(one["name"]);
    speeds.push_back(one["prediction"]["decode_tok_per_s"]);
    const Json alone = json_of({"plan", names.back(), "--profile", "m1-max-32gb"});
    EXPECT_EQ(one["prediction"], alone["prediction"]) << names.back();
    EXPECT_EQ(one["size_bytes"], alone["remote"]["size_bytes"]);
  }
  EXPECT_THAT(names, ElementsAre("hf.co/me/dense-GGUF:Q2_K", "hf.co/me/dense-GGUF:Q4_K_M", "hf.co/me/dense-GGUF:Q8_0"));
  ASSERT_GT(speeds[0], speeds[1]);
  ASSERT_GT(speeds[1], speeds[2]);
  const auto best_at = [&](double speed) {
    return json_of({"plan", "hf.co/me/dense-GGUF", "--profile", "m1-max-32gb", "--speed", std::to_string(speed)});
  };
  EXPECT_EQ(best_at(speeds[1] * 0.99)["best"], names[1]);
  EXPECT_EQ(best_at(speeds[1] * 1.01)["best"], names[0]);
  EXPECT_EQ(best_at(0.001)["best"], names[2]);
  EXPECT_EQ(best_at(1000)["best"], names[0]);
  EXPECT_EQ(best_at(1000)["best_holds"], false);

  const ProcessOutcome table =
      spillway({"plan", "hf.co/me/dense-GGUF", "--profile", "m1-max-32gb", "--speed", "0.001"});
  EXPECT_THAT(table.out, AllOf(HasSubstr("QUANT"), HasSubstr("\n*  Q8_0"), HasSubstr("Q2_K"), Not(HasSubstr("mmproj")),
                               HasSubstr("'spillway run hf.co/me/dense-GGUF:Q8_0' downloads")));
  fails({"plan", "hf.co/me/dense-GGUF", "--tensors"}, "--tensors");
}

TEST_F(RemotePlanTest, APlanNamesTheFiguresItRestsOn) {
  hub_.add("me/tiny", "tiny-Q4_K_M.gguf", file("tiny"));
  // Nothing is kept here, so the processor is measured.
  const ProcessOutcome measured = spillway({"plan", "hf.co/me/tiny:Q4_K_M"});
  ASSERT_EQ(measured.exit_code, 0) << measured.err;
  EXPECT_THAT(measured.out, MatchesRegex("(.|\n)*\nfigures .*/s; measured now\n(.|\n)*"));
  const Json json = json_of({"plan", "hf.co/me/tiny:Q4_K_M"});
  EXPECT_FALSE(json["machine"]["figures"]["decode_bytes_per_s"].empty());
  EXPECT_THAT(spillway({"plan", "hf.co/me/tiny", "--profile", "m1-max-32gb"}).out,
              AllOf(HasSubstr("figures    disk "), Not(HasSubstr("measured now"))));
}

TEST_F(RemotePlanTest, WhatCanNotBeReadIsOneLineOrOneRow) {
  hub_.add("me/mixed", "a-Q8_0.gguf", std::string("text"));
  hub_.add("me/mixed", "b-Q4_0.gguf", file("tiny"));
  hub_.add("me/broken", "a-Q8_0.gguf", std::string("text"));
  hub_.gated = "me/gated";
  hub_.add("me/gated", "a-Q8_0.gguf", file("tiny"));
  const ProcessOutcome mixed = spillway({"plan", "hf.co/me/mixed", "--profile", "m1-max-32gb"});
  EXPECT_EQ(mixed.exit_code, 0);
  EXPECT_THAT(mixed.out,
              AllOf(HasSubstr("*  Q4_0"), HasSubstr("not        Q8_0: hf.co/me/mixed/a-Q8_0.gguf: is not a GGUF")));
  fails({"plan", "hf.co/me/broken"}, "is not a GGUF");
  fails({"plan", "hf.co/me/mixed:Q8_0"}, "is not a GGUF");
  fails({"plan", "hf.co/me/gated"}, "HF_TOKEN");
  fails({"inspect", "hf.co/me/gated:Q8_0"}, "HF_TOKEN");
  fails({"plan", "hf.co/me/absent"}, "no such repository");
  fails({"plan", "hf.co/me/mixed:Q3_K_S"}, "there is: a-Q8_0, b-Q4_0");
  fails({"plan", "hf.co/me/mixed@v7"}, "no revision 'v7'");
  fails({"plan", "absent"}, "absent: no such file, and no model of that name here");
  fails({"plan", "./absent.gguf"}, "absent.gguf");
  fails({"plan", "../absent"}, "../absent");
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  fails({"plan", "hf.co/me/mixed"}, "HF_HUB_OFFLINE");
  fails({"plan", "hf.co/me/mixed:Q4_0"}, "HF_HUB_OFFLINE");
}

TEST_F(RemotePlanTest, WhatIsHereIsPlannedWithoutAsking) {
  const HubCacheFolder cache(folder_.at(".cache/huggingface/hub"));
  std::ifstream stream(path("tiny"), std::ios::binary);
  const std::string tiny(std::istreambuf_iterator<char>(stream), {});
  cache.file("me/tiny", kCommitA, "tiny-Q4_K_M.gguf", tiny);
  cache.ref("me/tiny", "main", kCommitA);
  EXPECT_THAT(spillway({"list"}).out, AllOf(HasSubstr("hf.co/me/tiny:Q4_K_M"), HasSubstr("hugging-face")));
  const Json json = json_of({"plan", "hf.co/me/tiny:Q4_K_M", "--profile", "m1-max-32gb"});
  EXPECT_FALSE(json.contains("remote"));
  EXPECT_EQ(hub_.site().requests().size(), 0u);
  EXPECT_EQ(spillway({"run", "hf.co/me/tiny", "--token-ids", "1,2,3", "--max-tokens", "2", "--threads", "1"}).exit_code,
            0);
  fails({"rm", "hf.co/me/tiny:Q4_K_M"}, "Hugging Face's cache");
  EXPECT_THAT(spillway({"show", "hf.co/me/tiny:Q4_K_M"}).out, HasSubstr("snapshots/"));
  // The site has more of it; without the site, what is here is planned.
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  const ProcessOutcome offline = spillway({"plan", "hf.co/me/tiny", "--profile", "m1-max-32gb"});
  EXPECT_EQ(offline.exit_code, 0) << offline.err;
  EXPECT_THAT(offline.err, HasSubstr("planning what is on this machine"));
}

// ---- offers ----

// Runs a command at a terminal, where somebody types `answer` when asked.
ProcessOutcome run_at_terminal(const std::vector<std::string>& command, const std::string& answer) {
  int terminal = -1;
  const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (pid == 0) {
    std::vector<char*> arguments;
    for (const std::string& one : command) arguments.push_back(const_cast<char*>(one.c_str()));
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ProcessOutcome outcome;
  bool answered = false;
  std::array<char, 4096> piece{};
  for (ssize_t n = 0; (n = ::read(terminal, piece.data(), piece.size())) > 0;) {
    outcome.out.append(piece.data(), static_cast<size_t>(n));
    if (answered || outcome.out.find("[Y/n] ") == std::string::npos) continue;
    answered = ::write(terminal, answer.data(), answer.size()) == static_cast<ssize_t>(answer.size());
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  ::close(terminal);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

class PullOfferTest : public RemotePlanTest {
 protected:
  PullOfferTest() {
    std::ifstream stream(path("tiny"), std::ios::binary);
    hub_.add("me/tiny", "tiny-Q4_K_M.gguf", std::string(std::istreambuf_iterator<char>(stream), {}));
  }
  static std::vector<std::string> run(const std::string& name, std::vector<std::string> more = {}) {
    std::vector<std::string> command{"run", name,     "--token-ids", "1,2,3",     "--max-tokens",
                                     "2",   "--temp", "0",           "--threads", "1"};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
  static std::vector<std::string> program(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), SPILLWAY);
    return arguments;
  }
};

TEST_F(PullOfferTest, WhereNobodyCanBeAskedTheMessageHasSizeAndSpeed) {
  for (const std::vector<std::string>& command :
       {run("hf.co/me/tiny:Q4_K_M"), std::vector<std::string>{"serve", "hf.co/me/tiny:Q4_K_M", "--port", "0"}})
    fails(command, "hf.co/me/tiny:Q4_K_M: is not on this machine: ");
  const ProcessOutcome out = spillway(run("hf.co/me/tiny:Q4_K_M"));
  EXPECT_THAT(out.err, AllOf(HasSubstr(" to download; here about "), HasSubstr(" tok/s ("),
                             HasSubstr("'spillway pull hf.co/me/tiny:Q4_K_M'"), HasSubstr("--pull")));
  EXPECT_EQ(spillway({"list", "--names"}).out, "");
  fails(run("hf.co/me/tiny:Q8_0"), "nothing is called 'Q8_0'");
  fails(run("hf.co/me/tiny", {"--ram", "32M"}), "would not run");
}

TEST_F(PullOfferTest, AskedForInAdvanceItIsBroughtAndRuns) {
  const ProcessOutcome out = spillway(run("hf.co/me/tiny", {"--pull"}));
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_NE(out.out, "");
  EXPECT_EQ(spillway({"list", "--names"}).out, "hf.co/me/tiny:latest\n");
  const uint64_t sent = hub_.bytes_sent();
  EXPECT_EQ(spillway(run("hf.co/me/tiny")).out, out.out);
  EXPECT_EQ(hub_.bytes_sent(), sent);
}

TEST_F(PullOfferTest, SomebodyAtATerminalIsAsked) {
  const ProcessOutcome refused = run_at_terminal(program(run("hf.co/me/tiny:Q4_K_M")), "n\n");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.out, AllOf(HasSubstr("is not on this machine"), HasSubstr("tiny-Q4_K_M.gguf"), HasSubstr("tok/s"),
                                 HasSubstr("figures"), HasSubstr("was not downloaded")));
  EXPECT_EQ(spillway({"list", "--names"}).out, "");
  const ProcessOutcome agreed = run_at_terminal(program(run("hf.co/me/tiny:Q4_K_M")), "\n");
  EXPECT_EQ(agreed.exit_code, 0) << agreed.out;
  EXPECT_EQ(spillway({"list", "--names"}).out, "hf.co/me/tiny:Q4_K_M\n");
}

}  // namespace
}  // namespace spillway
