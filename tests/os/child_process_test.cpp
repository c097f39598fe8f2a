// SPDX-License-Identifier: MIT
#include "os/child_process.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <utility>

#include "base/bytes.h"
#include "temp_folder.h"

namespace spillway {
namespace {

using testing::HasSubstr;

const std::function<bool()> kGoOn = [] { return true; };

ChildCommand shell(const std::string& script) {
  return {.program = "/bin/sh", .arguments = {"-c", script}, .folder = {}, .unset = {}};
}

TEST(ChildProcess, OutputErrorsAndExitCodeArrive) {
  const auto child = run_child(shell("echo out; echo err >&2; exit 3"), kGoOn);
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_EQ(child->output, "out\n");
  EXPECT_EQ(child->errors, "err\n");
  EXPECT_EQ(child->exit_code, 3);
  EXPECT_GT(child->rss_bytes_max, 0u);
}

TEST(ChildProcess, LongOutputArrivesWholeAndOfErrorsTheEnd) {
  const auto child = run_child(shell("head -c 1000000 /dev/zero; head -c 300000 /dev/zero >&2; echo last >&2"), kGoOn);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->output.size(), 1000000u);
  EXPECT_LT(child->errors.size(), 100000u);
  EXPECT_TRUE(child->errors.ends_with("last\n"));
}

TEST(ChildProcess, ASignalIsReported) {
  const auto child = run_child(shell("kill -TERM $$"), kGoOn);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->exit_code, -1);
  EXPECT_EQ(child->signal, SIGTERM);
}

TEST(ChildProcess, AProgramThatIsNotThereIsAnError) {
  const auto child = run_child({.program = "/nowhere/program", .arguments = {}, .folder = {}, .unset = {}}, kGoOn);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), Code::kNotFound);
  EXPECT_THAT(child.error().message(), HasSubstr("/nowhere/program"));
}

TEST(ChildProcess, RunsInTheGivenFolderWithNothingOnStandardInput) {
  ChildCommand command = shell("pwd; cat");
  command.folder = "/usr";
  EXPECT_EQ(run_child(command, kGoOn)->output, "/usr\n");
}

TEST(ChildProcess, TheEnvironmentIsInheritedButForWhatIsUnset) {
  ::setenv("SPILLWAY_TEST_A", "1", 1);
  ::setenv("SPILLWAY_TEST_AB", "2", 1);
  ChildCommand command = shell("echo \"$SPILLWAY_TEST_A,$SPILLWAY_TEST_AB\"");
  EXPECT_EQ(run_child(command, kGoOn)->output, "1,2\n");
  command.unset = {"SPILLWAY_TEST_A"};
  EXPECT_EQ(run_child(command, kGoOn)->output, ",2\n");
}

void expect_stopped(const ChildCommand& command) {
  bool has_begun = false;
  const auto child = run_child(command, [&] { return !std::exchange(has_begun, true); });
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), Code::kCancelled);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(ChildProcess, AskedToStopItStopsAndNothingIsLeft) { expect_stopped(shell("exec sleep 60")); }

TEST(ChildProcess, WhoDoesNotStopWhenAskedIsMadeTo) {
  ChildCommand command = shell("trap '' INT; while :; do :; done");
  command.patience_s = 0.3;
  expect_stopped(command);
}

TEST(ChildProcess, OneThatEndsAsItIsToldToStopCountsAsStopped) {
  const auto child = run_child(shell("exit 0"), [] { return false; });
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), Code::kCancelled);
}

TEST(ChildProcess, AFolderThatIsNotThereIsAnError) {
  ChildCommand command = shell("pwd");
  command.folder = "/nowhere";
  const auto child = run_child(command, kGoOn);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), Code::kNotFound);
}

TEST(ChildProcess, AFileThatIsNoProgramIsAnError) {
  const TempFolder folder;
  const auto child =
      run_child({.program = folder.write("text", "text"), .arguments = {}, .folder = {}, .unset = {}}, kGoOn);
  ASSERT_FALSE(child);
  EXPECT_EQ(child.error().code(), Code::kPermissionDenied);
}

TEST(ChildProcess, WhatIsNotDoneInTimeIsEndedAndSaysSo) {
  ChildCommand command = shell("echo begun; exec sleep 60");
  command.timeout_s = 0.3;
  const auto child = run_child(command, kGoOn);
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_TRUE(child->timed_out);
  EXPECT_EQ(child->signal, SIGKILL);
  EXPECT_EQ(child->output, "begun\n");
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(ChildProcess, AChildThatTakesMoreThanItsCapIsKilledByTheKernel) {
  const auto group = MemoryCgroup::create("spillway-child-test-" + std::to_string(::getpid()), 32 * MiB);
  if (!group) GTEST_SKIP() << group.error().message();
  ChildCommand hog{.program = "/bin/dd",
                   .arguments = {"if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"},
                   .folder = {},
                   .unset = {}};
  hog.cgroup = &*group;
  const auto child = run_child(hog, kGoOn);
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_EQ(child->signal, SIGKILL);
  EXPECT_EQ(group->oom_kills(), 1u);
}

}  // namespace
}  // namespace spillway
