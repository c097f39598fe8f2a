// SPDX-License-Identifier: MIT
// The world fails while a model runs: the disk, the file, the file system. Each gives an error for the request at hand,
// or works all the same; never a number that is not the model's.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "engine/engine.h"
#include "engine/verify.h"
#include "model/gguf_model.h"

namespace {

// What the system calls of this program do. Reads: direct ones, as weights are read, and those of whole pages.
std::atomic<bool> g_disk_fails{false};
enum class Direct { kTaken, kRefused, kTakenAndReadsRefused };
std::atomic<Direct> g_direct{Direct::kTaken};

bool is_direct(int fd) { return (::fcntl(fd, F_GETFL) & O_DIRECT) != 0; }

}  // namespace

// The program's own pread and open stand before the C library's.
extern "C" ssize_t pread(int fd, void* buffer, size_t bytes, off_t offset) {
  if (g_disk_fails && (is_direct(fd) || bytes % spillway::kPageBytes == 0)) {
    errno = EIO;
    return -1;
  }
  if (g_direct == Direct::kTakenAndReadsRefused && is_direct(fd)) {
    errno = EINVAL;
    return -1;
  }
  return ::syscall(SYS_pread64, fd, buffer, bytes, offset);
}
extern "C" int open(const char* path, int flags, ...) {
  if ((flags & O_DIRECT) != 0 && g_direct == Direct::kRefused) {
    errno = EINVAL;
    return -1;
  }
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string model_path(const std::string& name) { return std::string(SPILLWAY_TEST_MODELS) + "/" + name; }

LoadOptions load_options(const std::string& path, Mode mode) {
  LoadOptions options;
  options.path = path;
  options.mode = mode;
  options.extent_bytes_min = kPageBytes;
  options.n_ctx = 256;
  options.measure_compute = false;
  options.keep_heat = false;
  options.observable = true;
  options.kernels = Kernels::kPlain;
  return options;
}

Result<void> decode(Engine& engine, int32_t pos) {
  const BatchToken token{static_cast<TokenId>(17 + pos), pos, 0, true};
  return engine.decode({&token, 1});
}

// Calls `action` once, somewhere in the second layer of the next pass.
void in_the_middle_of_a_pass(Engine& engine, std::function<void()> action) {
  engine.set_node_observer([action = std::move(action), done = false](const std::string& name, uint64_t) mutable {
    if (done || !name.ends_with("-1")) return;
    done = true;
    action();
  });
}

// --- the disk

class FailingDisk : public testing::TestWithParam<const char*> {
 protected:
  void TearDown() override { g_disk_fails = false; }

  static std::unique_ptr<Engine> load() {
    LoadOptions options = load_options(model_path(GetParam()), Mode::kStream);
    options.weights_bytes = std::filesystem::file_size(options.path) * 4 / 10;
    options.reader = IoQueueKind::kThreads;
    auto engine = Engine::load(options);
    EXPECT_TRUE(engine) << engine.error().message();
    return engine ? std::move(*engine) : nullptr;
  }
};
INSTANTIATE_TEST_SUITE_P(MoeAndDense, FailingDisk, testing::Values("gate-moe.gguf", "gate-dense.gguf"));

TEST_P(FailingDisk, AReadThatFailsInTheMiddleOfAPassFailsThatPassAndNoLaterOne) {
  const auto undisturbed = load(), engine = load();
  ASSERT_TRUE(undisturbed && engine);
  for (int32_t pos = 0; pos < 12; ++pos) {
    ASSERT_TRUE(decode(*undisturbed, pos));
    if (pos % 4 == 2) {
      in_the_middle_of_a_pass(*engine, [] { g_disk_fails = true; });
      const auto failed = decode(*engine, pos);
      EXPECT_TRUE(g_disk_fails);
      ASSERT_FALSE(failed) << "nothing had to be read in this pass";
      EXPECT_EQ(failed.error().code(), Code::kIo);
      EXPECT_THAT(failed.error().message(), AllOf(HasSubstr(model_path(GetParam())), HasSubstr("Input/output error")));
      g_disk_fails = false;
    }
    const auto decoded = decode(*engine, pos);
    ASSERT_TRUE(decoded) << decoded.error().message();
    const auto expected = undisturbed->logits(-1), logits = engine->logits(-1);
    ASSERT_FALSE(expected.empty());
    ASSERT_EQ(logits.size(), expected.size());
    EXPECT_EQ(std::memcmp(logits.data(), expected.data(), expected.size_bytes()), 0) << "position " << pos;
  }
}

TEST_P(FailingDisk, ThatFailsWhileWeightsAreLoadedIsNamed) {
  LoadOptions options = load_options(model_path(GetParam()), Mode::kStream);
  options.weights_bytes = std::filesystem::file_size(options.path) * 4 / 10;
  options.reader = IoQueueKind::kThreads;
  options.progress = [](double done) {
    g_disk_fails = done > 0.05;  // libllama is through, and the first weights are there
    return true;
  };
  const auto engine = Engine::load(options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code(), Code::kIo);
  EXPECT_THAT(engine.error().message(), AllOf(HasSubstr(options.path), HasSubstr("Input/output error")));
}

TEST_P(FailingDisk, ThatFailsWhileTheMetadataIsReadIsNamed) {
  g_disk_fails = true;
  const auto model = open_gguf_model(model_path(GetParam()), {.direct = false});
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code(), Code::kIo);
  EXPECT_THAT(model.error().message(), AllOf(HasSubstr(model_path(GetParam())), HasSubstr("Input/output error")));
}

// --- the file

const char* mode_text(Mode mode) {
  return mode == Mode::kStream ? "Streamed" : mode == Mode::kMmap ? "Mapped" : "Resident";
}

// A copy of the model that a test may spoil, loaded in each mode.
class ChangedFile : public testing::TestWithParam<Mode> {
 protected:
  void SetUp() override { load({"gate-moe.gguf"}); }
  void TearDown() override {
    engine_.reset();
    std::filesystem::remove_all(folder_);
  }

  // The first is named to the engine.
  void load(const std::vector<std::string>& names) {
    TearDown();
    std::filesystem::create_directory(folder_);
    uint64_t bytes = 0;
    for (const std::string& name : names) {
      const std::string from = model_path(name), file = folder_ + "/" + std::filesystem::path(name).filename().string();
      std::filesystem::copy_file(from, file);
      bytes += std::filesystem::file_size(file);
    }
    path_ = folder_ + "/" + std::filesystem::path(names.front()).filename().string();
    LoadOptions options = load_options(path_, GetParam());
    if (GetParam() == Mode::kStream) options.weights_bytes = bytes * 4 / 10;
    auto engine = Engine::load(options);
    ASSERT_TRUE(engine) << engine.error().message();
    engine_ = std::move(*engine);
    ASSERT_EQ(engine_->placement().mode, GetParam());
    ASSERT_TRUE(decode(0));
  }

  Result<void> decode(int32_t pos) { return spillway::decode(*engine_, pos); }
  static void shrink(const std::string& path) {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 3);
  }
  void expect_changed(const Result<void>& outcome, const std::string& text) {
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code(), Code::kChanged) << outcome.error().message();
    EXPECT_THAT(outcome.error().message(), HasSubstr(text));
  }

  std::vector<float> logits_at(int32_t pos) {
    EXPECT_TRUE(decode(pos));
    const auto logits = engine_->logits(-1);
    return {logits.begin(), logits.end()};
  }
  template <typename Move>
  void expect_usable_elsewhere(const Move& move) {
    const std::vector<float> before = logits_at(1);
    ASSERT_EQ(engine_->cut(0, 1), 1u);
    ASSERT_TRUE(engine_->check_in_place());
    move();
    EXPECT_EQ(logits_at(1), before);
    EXPECT_TRUE(engine_->check_usable());
    const auto placed = engine_->check_in_place();
    ASSERT_FALSE(placed);
    EXPECT_EQ(placed.error().code(), Code::kChanged);
  }

  const std::string folder_ = testing::TempDir() + "spillway-changed-" + std::to_string(::getpid());
  std::string path_;
  std::unique_ptr<Engine> engine_;
};
INSTANTIATE_TEST_SUITE_P(Modes, ChangedFile, testing::Values(Mode::kStream, Mode::kMmap, Mode::kResident),
                         [](const auto& mode) { return mode_text(mode.param); });

TEST_P(ChangedFile, ShrunkWhileRunningFailsTheRequest) {
  shrink(path_);
  for (int32_t pos = 1; pos < 4; ++pos) expect_changed(decode(pos), path_);
}

// What is under way goes on with the bytes it began with: to the last bit, though other weights have the name.
TEST_P(ChangedFile, ReplacedWhileRunningGoesOnWithWhatWasLoaded) {
  expect_usable_elsewhere([&] {
    const std::string other = path_ + ".new";
    std::filesystem::copy_file(model_path("gate-moe.gguf"), other);
    std::ofstream(other, std::ios::binary | std::ios::in | std::ios::out).seekp(-4096, std::ios::end)
        << std::string(4096, 'x');
    std::filesystem::rename(other, path_);
  });
}

TEST_P(ChangedFile, RemovedWhileRunningGoesOnWithWhatWasLoaded) {
  expect_usable_elsewhere([&] { std::filesystem::remove(path_); });
}

// The race that checking before and after cannot see: the file shrinks while a pass runs, and pages that nobody holds
// are touched.
TEST_P(ChangedFile, ShrinkingInTheMiddleOfAPassNeverGivesANumber) {
  bool shrunk = false;
  in_the_middle_of_a_pass(*engine_, [&] {
    shrink(path_);
    shrunk = true;
  });
  const auto outcome = decode(1);
  ASSERT_TRUE(shrunk);
  expect_changed(outcome, path_);
}

TEST_P(ChangedFile, OfASplitModelThePartThatChangedIsNamed) {
  std::vector<std::string> names;
  for (const char* part : {"1", "2", "3"})
    names.push_back("quantized/split-0000" + std::string(part) + "-of-00003.gguf");
  load(names);
  const std::string second = folder_ + "/split-00002-of-00003.gguf";
  shrink(second);
  expect_changed(decode(1), second);
}

// --- the file system

VerifyOptions verify_options(const std::string& path) {
  VerifyOptions options;
  options.path = path;
  options.weights_bytes = std::filesystem::file_size(path) * 6 / 10;
  options.extent_bytes_min = kPageBytes;
  return options;
}

void expect_exact(const VerifyOptions& options) {
  const auto report = verify(options);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->exact) << report->first_difference;
  EXPECT_GT(report->bytes_streamed, 0u);
}

class FileSystem : public testing::Test {
 protected:
  void TearDown() override { g_direct = Direct::kTaken; }
};

TEST_F(FileSystem, ThatRefusesDirectReadsIsStreamedFromThroughThePageCache) {
  g_direct = Direct::kRefused;
  expect_exact(verify_options(model_path("gate-moe.gguf")));
}

TEST_F(FileSystem, ThatRefusesThemOnlyWhenReadIsStreamedFromAllTheSame) {
  g_direct = Direct::kTakenAndReadsRefused;
  expect_exact(verify_options(model_path("gate-dense.gguf")));
}

TEST_F(FileSystem, InMemoryIsStreamedFrom) {
  constexpr long kTmpfs = 0x01021994;
  struct statfs of {};
  if (::statfs("/dev/shm", &of) != 0 || of.f_type != kTmpfs) GTEST_SKIP() << "no tmpfs at /dev/shm";
  const std::string path = "/dev/shm/spillway-test-" + std::to_string(::getpid()) + ".gguf";
  std::error_code refused;
  std::filesystem::copy_file(model_path("gate-moe.gguf"), path, refused);
  if (!refused) expect_exact(verify_options(path));
  std::filesystem::remove(path);
  if (refused) GTEST_SKIP() << "/dev/shm: " << refused.message();
}

}  // namespace
}  // namespace spillway
