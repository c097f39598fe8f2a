// SPDX-License-Identifier: MIT
#include "cli/bench_child.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/interrupt.h"

namespace spillway {
namespace {

using testing::HasSubstr;

const std::function<void()> kNoTick = [] {};

ChildCommand shell(const std::string& script) {
  return {.program = "/bin/sh", .arguments = {"-c", script}, .folder = {}, .unset = {}};
}

TEST(BenchChild, OutputErrorsAndExitCodeArrive) {
  const auto child = run_child(shell("echo out; echo err >&2; exit 3"), kNoTick);
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_EQ(child->output, "out\n");
  EXPECT_EQ(child->errors, "err\n");
  EXPECT_EQ(child->exit_code, 3);
  EXPECT_GT(child->rss_bytes_max, 0u);
}

TEST(BenchChild, LongOutputArrivesWholeAndOfErrorsTheEnd) {
  const auto child =
      run_child(shell("head -c 1000000 /dev/zero; head -c 300000 /dev/zero >&2; echo last >&2"), kNoTick);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->output.size(), 1000000u);
  EXPECT_LT(child->errors.size(), 100000u);
  EXPECT_TRUE(child->errors.ends_with("last\n"));
}

TEST(BenchChild, ASignalIsReported) {
  const auto child = run_child(shell("kill -TERM $$"), kNoTick);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->exit_code, -1);
  EXPECT_EQ(child->signal, SIGTERM);
}

TEST(BenchChild, AProgramThatIsNotThereIsAnError) {
  const auto child = run_child({.program = "/nowhere/program", .arguments = {}, .folder = {}, .unset = {}}, kNoTick);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), Code::kNotFound);
  EXPECT_THAT(child.error().message(), HasSubstr("/nowhere/program"));
}

TEST(BenchChild, RunsInTheGivenFolderWithNothingOnStandardInput) {
  ChildCommand command = shell("pwd; cat");
  command.folder = "/usr";
  EXPECT_EQ(run_child(command, kNoTick)->output, "/usr\n");
}

TEST(BenchChild, TheEnvironmentIsInheritedButForWhatIsUnset) {
  ::setenv("SPILLWAY_TEST_A", "1", 1);
  ::setenv("SPILLWAY_TEST_AB", "2", 1);
  ChildCommand command = shell("echo \"$SPILLWAY_TEST_A,$SPILLWAY_TEST_AB\"");
  EXPECT_EQ(run_child(command, kNoTick)->output, "1,2\n");
  command.unset = {"SPILLWAY_TEST_A"};
  EXPECT_EQ(run_child(command, kNoTick)->output, ",2\n");
}

TEST(BenchChild, CtrlCStopsItAndNothingIsLeft) {
  install_interrupt_handler();
  bool raised = false;
  const Stopwatch watch;
  const auto child = run_child(shell("exec sleep 60"), [&] {
    if (!raised) std::raise(SIGINT);
    raised = true;
  });
  clear_interrupt();
  std::signal(SIGINT, SIG_DFL);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), Code::kCancelled);
  EXPECT_LT(watch.elapsed_s(), 30);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(BenchChild, WhatIsNotDoneInTimeIsEndedAndSaysSo) {
  ChildCommand command = shell("echo begun; exec sleep 60");
  command.timeout_s = 0.3;
  const auto child = run_child(command, kNoTick);
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_TRUE(child->timed_out);
  EXPECT_EQ(child->signal, SIGKILL);
  EXPECT_EQ(child->output, "begun\n");
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(BenchChild, AChildThatTakesMoreThanItsCapIsKilledByTheKernel) {
  const auto group = MemoryCgroup::create("spillway-child-test-" + std::to_string(::getpid()), 32 * MiB);
  if (!group) GTEST_SKIP() << group.error().message();
  ChildCommand hog{.program = "/bin/dd",
                   .arguments = {"if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"},
                   .folder = {},
                   .unset = {}};
  hog.cgroup = &*group;
  const auto child = run_child(hog, kNoTick);
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_EQ(child->signal, SIGKILL);
  EXPECT_EQ(group->oom_kills(), 1u);
}

}  // namespace
}  // namespace spillway
