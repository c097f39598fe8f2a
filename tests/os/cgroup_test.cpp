// SPDX-License-Identifier: MIT
#include "os/cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "os/machine.h"
#include "temp_folder.h"

namespace spillway {
namespace {

class Capped : public testing::Test {
 protected:
  void SetUp() override {
    Result<MemoryCgroup> group = MemoryCgroup::create(name_, 64 * MiB);
    if (!group && (group.error().code() == Code::kPermissionDenied || group.error().code() == Code::kUnsupported))
      GTEST_SKIP() << group.error().message();
    ASSERT_TRUE(group) << group.error().message();
    group_.emplace(std::move(*group));
  }

  // Runs `work` in a child inside the group and gives waitpid's status.
  int run(const std::function<int()>& work) {
    int gate[2];
    EXPECT_EQ(::pipe(gate), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      char go;
      ::_exit(::read(gate[0], &go, 1) == 1 ? work() : 99);
    }
    const Result<void> added = group_->add(child);
    EXPECT_TRUE(added) << (added ? "" : added.error().message());
    EXPECT_EQ(::write(gate[1], added ? "g" : "", added ? 1 : 0), added ? 1 : 0);
    ::close(gate[0]);
    ::close(gate[1]);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }

  std::string folder() const { return std::filesystem::path(group_->procs_path()).parent_path(); }

  const std::string name_ = "spillway-test-" + std::to_string(::getpid());
  std::optional<MemoryCgroup> group_;
};

// Seen by ThreadSanitizer, each byte would take four more in its shadow.
__attribute__((no_sanitize("thread"))) int touch(uint64_t bytes) {
  auto* memory =
      static_cast<volatile char*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (uint64_t i = 0; i < bytes; i += kPageBytes) memory[i] = 1;
  return 0;
}

bool was_killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }
bool ended_well(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

TEST_F(Capped, AProcessThatTakesMoreIsKilledAndCounted) {
  EXPECT_EQ(group_->oom_kills(), 0u);
  EXPECT_TRUE(was_killed(run([] { return touch(200 * MiB); })));
  EXPECT_EQ(group_->oom_kills(), 1u);
  EXPECT_GE(group_->usage_bytes_max(), 60 * MiB);
  EXPECT_LE(group_->usage_bytes_max(), 64 * MiB);
}

TEST_F(Capped, AProcessThatTakesLessLivesAndItsPeakIsReported) {
  EXPECT_TRUE(ended_well(run([] { return touch(32 * MiB); })));
  EXPECT_EQ(group_->oom_kills(), 0u);
  EXPECT_GE(group_->usage_bytes_max(), 32 * MiB);
  EXPECT_LE(group_->usage_bytes_max(), 64 * MiB);
}

TEST_F(Capped, ARaisedLimitLetsItLive) {
  ASSERT_TRUE(group_->set_limit(400 * MiB));
  EXPECT_TRUE(ended_well(run([] { return touch(200 * MiB); })));
  ASSERT_TRUE(group_->set_limit(64 * MiB));
  EXPECT_TRUE(was_killed(run([] { return touch(200 * MiB); })));
}

// Writes and so caches a file.
int write_file(const std::string& path, uint64_t bytes) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  static char block[MiB];
  for (uint64_t done = 0; done < bytes; done += sizeof block)
    if (::write(fd, block, sizeof block) != static_cast<ssize_t>(sizeof block)) return 2;
  return ::fsync(fd) == 0 ? 0 : 3;
}

TEST_F(Capped, PageCacheCountsAndKillsNobody) {
  TempFolder files;
  const std::string path = files.at("big");
  EXPECT_TRUE(ended_well(run([&] { return write_file(path, 200 * MiB); })));
  EXPECT_EQ(group_->oom_kills(), 0u);
  EXPECT_GE(group_->usage_bytes_max(), 50 * MiB);
}

TEST_F(Capped, TheProcessInsideSeesItsLimitAndTheCacheThatItCouldDrop) {
  TempFolder files;
  const std::string path = files.at("big");
  const int status = run([&] {
    const MemoryState before = memory_state();
    if (!before.limited_by_cgroup || before.limit_bytes != 64 * MiB) return 4;
    if (before.available_bytes > 64 * MiB || before.available_bytes < 40 * MiB) return 5;
    if (const int failed = write_file(path, 40 * MiB)) return failed;
    if (memory_state().available_bytes < 40 * MiB) return 6;
    touch(30 * MiB);
    return memory_state().available_bytes < 40 * MiB ? 0 : 7;
  });
  EXPECT_TRUE(ended_well(status)) << "step " << (WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

TEST_F(Capped, TheGroupGoesWithItsOwner) {
  const std::string path = folder();
  struct stat st {};
  EXPECT_EQ(::stat(path.c_str(), &st), 0);
  group_.reset();
  EXPECT_NE(::stat(path.c_str(), &st), 0);
}

TEST_F(Capped, AMovedFromGroupRemovesNothing) {
  const std::string path = folder();
  MemoryCgroup moved = std::move(*group_);
  group_.reset();
  struct stat st {};
  EXPECT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(moved.procs_path(), path + "/cgroup.procs");
}

TEST_F(Capped, AGroupLeftByARunThatDiedIsTakenOver) {
  const std::string left = name_ + "-left";
  const std::string path = std::filesystem::path(folder()).parent_path() / left;
  ASSERT_EQ(::mkdir(path.c_str(), 0755), 0);
  const Result<MemoryCgroup> group = MemoryCgroup::create(left, 64 * MiB);
  EXPECT_TRUE(group) << group.error().message();
}

TEST_F(Capped, AProcessThatIsNotThereCannotJoin) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const Result<void> added = group_->add(child);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace spillway
