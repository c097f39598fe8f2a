// SPDX-License-Identifier: MIT
// Acceptance: while a model streams within a memory cgroup another process joins the cgroup and takes 60 % of its
// memory, or the limit is lowered. The run goes on with the same logits, nobody is killed, nothing is swapped; the
// cache gives way and comes back.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <thread>

#include "../cli/process.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "os/cgroup.h"
#include "os/cgroup_parse.h"
#include "os/file.h"

namespace spillway {
namespace {

constexpr uint64_t kLimitBytes = 1536 * MiB;
constexpr uint64_t kHogBytes = kLimitBytes * 6 / 10;
constexpr std::chrono::milliseconds kLook{20};

// A process in the group that takes memory as fast as it can, and holds it until it is let go.
class Hog {
 public:
  Hog(const MemoryCgroup& group, uint64_t bytes) {
    int go[2], done[2];
    EXPECT_EQ(::pipe(go), 0);
    EXPECT_EQ(::pipe(done), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(go[1]);
      char byte;
      if (::read(go[0], &byte, 1) != 1) ::_exit(1);
      auto* memory = static_cast<char*>(
          ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
      if (memory == MAP_FAILED) ::_exit(2);
      for (uint64_t at = 0; at < bytes; at += 4096) memory[at] = 1;
      (void)!::write(done[1], "d", 1);
      (void)!::read(go[0], &byte, 1);  // until the other end is closed
      ::_exit(0);
    }
    ::close(go[0]);
    ::close(done[1]);
    go_ = go[1];
    done_ = done[0];
    EXPECT_TRUE(group.add(pid_));
    EXPECT_EQ(::write(go_, "g", 1), 1);
  }
  ~Hog() { leave(); }
  Hog(const Hog&) = delete;
  Hog& operator=(const Hog&) = delete;

  bool has_all() const {  // false: it was killed
    char byte;
    return ::read(done_, &byte, 1) == 1;
  }
  int leave() {
    if (pid_ <= 0) return 0;
    ::close(go_);
    ::close(done_);
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  int go_ = -1, done_ = -1;
};

class Pressure : public testing::Test {
 protected:
  struct Model {
    std::string path;
    int tokens = 0;
    std::string undisturbed_hash;  // empty: not known yet
  };

  void SetUp() override {
    auto group = MemoryCgroup::create("spillway-pressure-" + std::to_string(::getpid()), kLimitBytes);
    if (!group && (group.error().code() == Code::kPermissionDenied || group.error().code() == Code::kUnsupported))
      GTEST_SKIP() << group.error().message();
    ASSERT_TRUE(group) << group.error().message();
    group_.emplace(std::move(*group));
  }

  // The model of that shape, made by the first test that wants it. It is fed with ids of its own: random weights would
  // choose one token for ever.
  void prepare(const std::vector<std::string>& shape, int tokens) {
    auto [entry, is_new] = models_.try_emplace(shape);
    model_ = &entry->second;
    if (!is_new) return;
    std::filesystem::create_directories(SPILLWAY_TEST_MODELS);
    model_->path = fmt::format("{}/pressure-{}-{}.gguf", SPILLWAY_TEST_MODELS, ::getpid(), models_.size());
    std::vector<std::string> command{SPILLWAY_MAKE_MODEL, "--out", model_->path};
    command.insert(command.end(), shape.begin(), shape.end());
    const ProcessOutcome made = run_process(command);
    ASSERT_EQ(made.exit_code, 0) << made.err;
    std::ofstream teacher(model_->path + ".ids");
    for (int i = 0; i < tokens; ++i) teacher << (i * 7919 + 13) % 3000 << (i + 1 < tokens ? "," : "\n");
    model_->tokens = tokens;
  }
  static void TearDownTestSuite() {
    std::error_code ignored;
    for (const auto& [shape, model] : models_) {
      std::filesystem::remove(model.path, ignored);
      std::filesystem::remove(model.path + ".ids", ignored);
    }
    models_.clear();
  }

  std::string command_line() const {
    return fmt::format(
        "exec {} run {} --token-ids 1,2,3,4 --teacher-tokens {}.ids --max-tokens {} --ignore-eos --temp 0 "
        "--context 1024 --mode stream --json --stats",
        SPILLWAY_PROGRAM, model_->path, model_->path, model_->tokens);
  }
  std::unique_ptr<Process> start() const {
    return std::make_unique<Process>(
        std::vector<std::string>{"/bin/sh", "-c",
                                 fmt::format("echo $$ > {} && {}", group_->procs_path(), command_line())},
        "");
  }

  // Anonymous and swapped memory of the one process in the group that is no hog, 0 when it ended.
  uint64_t memory_of_run(const char* key) const {
    std::ifstream procs(group_->procs_path());
    for (pid_t pid = 0; procs >> pid;) {
      if (read_text_file(fmt::format("/proc/{}/comm", pid)).value_or("").starts_with("pressure")) continue;
      return keyed_value(read_text_file(fmt::format("/proc/{}/status", pid)).value_or(""), key).value_or(0);
    }
    return 0;
  }

  // Until what the run holds does as told; false when it ended before.
  bool wait_until(const std::function<bool(uint64_t rss_bytes)>& is_so) const {
    for (;;) {
      const uint64_t rss_bytes = memory_of_run("RssAnon");
      swapped_bytes_ = std::max(swapped_bytes_, memory_of_run("VmSwap"));
      if (rss_bytes == 0 && loaded_) return false;
      if (is_so(rss_bytes)) return true;
      std::this_thread::sleep_for(kLook);
    }
  }
  // Loaded, and some way into its answer.
  bool wait_until_it_runs() {
    uint64_t before = 0;
    int steady = 0;
    const bool runs = wait_until([&](uint64_t rss_bytes) {
      loaded_ = loaded_ || rss_bytes > 0;
      steady = rss_bytes > kLimitBytes / 2 && rss_bytes < before + 4 * MiB ? steady + 1 : 0;
      before = rss_bytes;
      return steady >= 50;
    });
    full_bytes_ = before;
    return runs;
  }

  // What the model computes when nobody disturbs; asked once for each model.
  std::string undisturbed_hash() {
    if (!model_->undisturbed_hash.empty()) return model_->undisturbed_hash;
    const ProcessOutcome alone = start()->finish();
    EXPECT_EQ(alone.exit_code, 0) << alone.err;
    const auto json = nlohmann::json::parse(alone.out, nullptr, false);
    EXPECT_EQ(json.value("shrinks", -1), 0) << "alone nothing presses";
    std::cout << "  alone: " << json.value("decode_tok_per_s", 0.0) << " tok/s\n";
    return model_->undisturbed_hash = json.value("logits_hash", "none");
  }

  nlohmann::json finish(Process& run) const {
    const ProcessOutcome outcome = run.finish();
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(group_->oom_kills(), 0u);
    EXPECT_EQ(swapped_bytes_, 0u);
    return nlohmann::json::parse(outcome.out, nullptr, false);
  }

  // While it runs a hog takes 60 % of the group's memory and leaves again.
  void disturb_with_a_hog() {
    const std::string expected = undisturbed_hash();
    const Stopwatch watch;
    const auto run = start();
    ASSERT_TRUE(wait_until_it_runs());
    Hog hog(*group_, kHogBytes);
    EXPECT_TRUE(hog.has_all()) << "it was killed";
    uint64_t least_bytes = full_bytes_;
    ASSERT_TRUE(wait_until([&](uint64_t rss_bytes) {
      least_bytes = std::min(least_bytes, rss_bytes);
      return rss_bytes + kHogBytes < kLimitBytes;
    })) << "the run ended too soon";
    std::cout << fmt::format("  {} before, {} beside the hog\n", format_bytes(full_bytes_), format_bytes(least_bytes));
    EXPECT_EQ(hog.leave(), 0);
    EXPECT_TRUE(wait_until([&](uint64_t rss_bytes) {
      return rss_bytes > least_bytes + (full_bytes_ - least_bytes) / 2;
    })) << "it did not grow again";
    const double grown_s = watch.elapsed_s();
    const nlohmann::json report = finish(*run);
    std::cout << fmt::format("  grown again after {:.1f} s of {:.1f}\n", grown_s, watch.elapsed_s());
    EXPECT_EQ(report.value("logits_hash", ""), expected);
    EXPECT_GE(report.value("shrinks", 0), 1);
    EXPECT_GE(report.value("growths", 0), 1);
    std::cout << fmt::format("  disturbed: {} tok/s, {} shrinks, {} growths\n", report.value("decode_tok_per_s", 0.0),
                             report.value("shrinks", 0), report.value("growths", 0));
  }

  static inline std::map<std::vector<std::string>, Model> models_;

  std::optional<MemoryCgroup> group_;
  Model* model_ = nullptr;
  bool loaded_ = false;
  uint64_t full_bytes_ = 0;
  mutable uint64_t swapped_bytes_ = 0;
};

TEST_F(Pressure, AMixtureOfExpertsGivesWayToAHogAndComesBack) {
  ASSERT_NO_FATAL_FAILURE(prepare({"--preset", "bench-moe", "--layers", "8"}, 260));
  disturb_with_a_hog();
}

// It has few slots to give; weights that were loaded for good follow.
TEST_F(Pressure, ADenseModelGivesWayToAHogAndComesBack) {
  ASSERT_NO_FATAL_FAILURE(prepare({"--preset", "bench-dense", "--layers", "12"}, 45));
  disturb_with_a_hog();
}

TEST_F(Pressure, ALimitThatIsLoweredIsFollowed) {
  ASSERT_NO_FATAL_FAILURE(prepare({"--preset", "bench-moe", "--layers", "8"}, 260));
  const std::string expected = undisturbed_hash();
  const auto run = start();
  ASSERT_TRUE(wait_until_it_runs());
  // v1 refuses a limit below what is in use, so a step at a time, as an administrator would try again.
  constexpr uint64_t kLowBytes = 1024 * MiB;
  uint64_t limit_bytes = kLimitBytes;
  ASSERT_TRUE(wait_until([&](uint64_t) {
    if (group_->set_limit(limit_bytes - 8 * MiB)) limit_bytes -= 8 * MiB;
    return limit_bytes <= kLowBytes;
  })) << "at a limit of "
      << format_bytes(limit_bytes);
  EXPECT_LE(memory_of_run("RssAnon"), kLowBytes);
  const nlohmann::json report = finish(*run);
  EXPECT_EQ(report.value("logits_hash", ""), expected);
  EXPECT_GE(report.value("shrinks", 0), 1);
}

}  // namespace
}  // namespace spillway
