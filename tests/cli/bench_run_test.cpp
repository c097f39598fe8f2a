// SPDX-License-Identifier: MIT
// `spillway bench` from the outside: the built program on a tiny generated model.
#include <gmock/gmock.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <thread>

#include "base/bytes.h"
#include "base/clock.h"
#include "os/cgroup.h"
#include "os/temp_folder.h"
#include "process.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using Json = nlohmann::json;

class BenchVerb : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    const auto made = run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-moe", "--out", model()});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string model() { return folder_->at("moe.gguf"); }

  // One thread: tests run beside each other, and spinning threads that share a CPU take ten times as long.
  static std::vector<std::string> command(const std::vector<std::string>& options) {
    std::vector<std::string> words = {SPILLWAY, "bench",    model(), "--tokens",  "4", "--repeat",
                                      "1",      "--warmup", "1",     "--threads", "1"};
    words.insert(words.end(), options.begin(), options.end());
    return words;
  }
  static ProcessOutcome bench(const std::vector<std::string>& options) { return run_process(command(options)); }

  static std::unique_ptr<TempFolder> folder_;
};
std::unique_ptr<TempFolder> BenchVerb::folder_;

// Where the program may cap its children. Others may bench here at the same time, or have died here.
class CappedBenchVerb : public BenchVerb {
 protected:
  void SetUp() override {
    const auto group = MemoryCgroup::create("spillway-test-bench-" + std::to_string(::getpid()), 64 * MiB);
    if (!group) GTEST_SKIP() << group.error().message();
    cgroups_ = std::filesystem::path(group->procs_path()).parent_path().parent_path();
    left_before_ = cgroups_left();
  }
  void TearDown() override {
    if (IsSkipped()) return;
    EXPECT_EQ(cgroups_left(), left_before_);
  }

  // "spillway-bench-PID-N", each of a child.
  std::set<std::string> cgroups() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(cgroups_))
      if (const std::string name = entry.path().filename(); name.starts_with(kPrefix)) names.insert(name);
    return names;
  }

 private:
  static constexpr std::string_view kPrefix = "spillway-bench-";

  std::set<std::string> cgroups_left() const {
    std::set<std::string> left = cgroups();
    std::erase_if(left, [](const std::string& name) { return ::kill(std::stoi(name.substr(kPrefix.size())), 0) == 0; });
    return left;
  }

  std::filesystem::path cgroups_;
  std::set<std::string> left_before_;
};

TEST_F(BenchVerb, OursBaselineAndResidentComputeTheSame) {
  const auto outcome = bench({"--ram", "512M", "--no-cap", "--baseline", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, IsEmpty());
  const Json json = Json::parse(outcome.out);
  EXPECT_TRUE(json["logits_equal"].get<bool>());
  EXPECT_EQ(json["logits_compared"], 3);
  EXPECT_EQ(json["logits_hash"].get<std::string>().size(), 16u);
  EXPECT_FALSE(json["capped"].get<bool>());
  EXPECT_GT(json["times_baseline"].get<double>(), 0);
  EXPECT_GT(json["limits"]["serial_limit_tok_per_s"].get<double>(), 0);
  EXPECT_TRUE(json["limits"]["compute_is_resident"].is_boolean())
      << "of runs of milliseconds either may be the fastest";
  ASSERT_EQ(json["runs"].size(), 3u);
  for (const char* kind : {"ours", "baseline", "resident"}) {
    const Json& summary = json["summary"][kind];
    EXPECT_EQ(summary["ok"], 1) << kind;
    EXPECT_GT(summary["decode_tok_per_s"].get<double>(), 0) << kind;
    EXPECT_GT(summary["prefill_tok_per_s"].get<double>(), 0) << kind;
    EXPECT_GT(summary["peak_rss_bytes"].get<uint64_t>(), MiB) << kind;
    EXPECT_TRUE(summary["cgroup_bytes_max"].is_null()) << kind;
  }
  EXPECT_EQ(json["summary"]["baseline"]["mode"], "mmap");
  for (const Json& run : json["runs"]) {
    EXPECT_EQ(run["outcome"], "ok");
    EXPECT_EQ(run["report"]["decode_tokens"], 4);
    EXPECT_EQ(run["report"]["tokens"], json["runs"][0]["report"]["tokens"]);
  }
}

TEST_F(BenchVerb, AStreamedRunIsAsExact) {
  const auto outcome = bench({"--ram", "512M", "--no-cap", "--mode", "stream", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json json = Json::parse(outcome.out);
  EXPECT_EQ(json["summary"]["ours"]["mode"], "stream");
  EXPECT_EQ(json["logits_compared"], 2);
  EXPECT_TRUE(json["logits_equal"].get<bool>());
}

TEST_F(BenchVerb, TheTableNamesEveryKind) {
  const auto outcome = bench({"--ram", "512M", "--no-cap", "--baseline"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* part : {"spillway, resident", "libllama, mmap", "resident, no cap", "times libllama over mmap",
                           "logits of all 3 runs are equal", "nobody is capped"})
    EXPECT_THAT(outcome.out, HasSubstr(part));
}

TEST_F(CappedBenchVerb, CappedRunsTellTheirPeak) {
  const auto outcome = bench({"--ram", "512M", "--no-resident", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json json = Json::parse(outcome.out);
  EXPECT_TRUE(json["capped"].get<bool>());
  const auto peak_bytes = json["summary"]["ours"]["cgroup_bytes_max"].get<uint64_t>();
  EXPECT_GT(peak_bytes, MiB);
  EXPECT_LE(peak_bytes, 512 * MiB);
  EXPECT_THAT(json["notes"][0].get<std::string>(), HasSubstr("no resident run"));
}

TEST_F(CappedBenchVerb, ARunOfOursThatTheKernelKillsIsReportedAndFails) {
  const auto outcome = bench({"--ram", "8M", "--mode", "mmap", "--no-resident", "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("killed by the kernel"));
  const Json json = Json::parse(outcome.out);
  EXPECT_EQ(json["runs"][0]["outcome"], "oom_killed");
  EXPECT_EQ(json["summary"]["ours"]["oom_killed"], 1);
}

TEST_F(BenchVerb, ABudgetThatIsTooSmallIsARunThatFailed) {
  const auto outcome = bench({"--ram", "1M", "--no-cap", "--no-resident"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.out, HasSubstr("failed (1 of 1)"));
  EXPECT_THAT(outcome.err, HasSubstr("budget of 1 MiB is too small"));
}

TEST_F(CappedBenchVerb, CtrlCStopsTheChildAndLeavesNothing) {
  const auto before = cgroups();
  Process process(command({"--ram", "512M", "--repeat", "1000", "--mode", "mmap"}), "");
  for (const Stopwatch watch; cgroups() == before && watch.elapsed_s() < 60;) std::this_thread::yield();
  process.signal(SIGINT);
  const auto outcome = process.finish();
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  EXPECT_THAT(outcome.out, IsEmpty());
}

TEST_F(BenchVerb, WhatMakesNoSenseIsAUsageError) {
  for (const auto& options : std::vector<std::vector<std::string>>{{},
                                                                   {"--ram", "x"},
                                                                   {"--ram", "1G", "--mode", "fast"},
                                                                   {"--ram", "1G", "--tokens", "600"},
                                                                   {"--ram", "1G", "--repeat", "0"}})
    EXPECT_EQ(bench(options).exit_code, 2);
}

TEST_F(BenchVerb, AModelThatIsNotThereIsOneLine) {
  const auto outcome = run_process({SPILLWAY, "bench", "/nowhere.gguf", "--ram", "1G"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/nowhere.gguf"));
}

}  // namespace
}  // namespace spillway
