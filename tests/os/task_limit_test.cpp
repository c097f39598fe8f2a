// SPDX-License-Identifier: MIT
#include "os/task_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>

namespace spillway {
namespace {

uint64_t limit_from(const std::map<std::string, std::string>& files, uint64_t process_limit) {
  return tasks_max_from(
      [&files](const std::string& path) {
        const auto found = files.find(path);
        return found == files.end() ? std::string() : found->second;
      },
      process_limit);
}

TEST(TaskLimit, IsTheLeastOfTheProcessAndOfAllCgroupsAboveIt) {
  std::map<std::string, std::string> files = {
      {"/proc/self/mountinfo", "35 24 0:30 / /cg rw - cgroup2 cgroup2 rw\n"},
      {"/proc/self/cgroup", "0::/a/b\n"},
      {"/cg/a/b/pids.max", "max\n"},
      {"/cg/a/pids.max", "100\n"},
  };
  EXPECT_EQ(limit_from(files, UINT64_MAX), 100u);
  EXPECT_EQ(limit_from(files, 64), 64u);
  files["/cg/a/b/pids.max"] = "30\n";
  EXPECT_EQ(limit_from(files, 64), 30u);
}

TEST(TaskLimit, IsFoundInAHierarchyOfItsOwnToo) {
  EXPECT_EQ(limit_from({{"/proc/self/mountinfo", "36 31 0:32 /docker/3f /cg/pids ro - cgroup cgroup rw,pids\n"},
                        {"/proc/self/cgroup", "9:pids:/docker/3f\n"},
                        {"/cg/pids/pids.max", "200\n"}},
                       UINT64_MAX),
            200u);
}

TEST(TaskLimit, IsNoneWhereNothingSaysOne) { EXPECT_EQ(limit_from({}, UINT64_MAX), UINT64_MAX); }

#if !defined(__SANITIZE_THREAD__)  // no threads in children that fork made, there
TEST(TaskLimit, ThreadsThatTheSystemDoesNotGiveAreAnError) {
  EXPECT_TRUE(try_threads(0));
  EXPECT_TRUE(try_threads(20));
  const auto with_three = [] {
    constexpr uid_t kNobody = 65534;  // root has no such limit
    const rlimit three{3, 3};
    if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) std::_Exit(2);
    if (::setrlimit(RLIMIT_NPROC, &three) != 0) std::_Exit(3);
    const auto outcome = try_threads(50);
    std::_Exit(!outcome && outcome.error().code() == Code::kBusy && try_threads(0) ? 0 : 1);
  };
  EXPECT_EXIT(with_three(), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace spillway
