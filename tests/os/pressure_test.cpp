// SPDX-License-Identifier: MIT
#include "os/pressure.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "base/bytes.h"
#include "os/cgroup.h"

namespace spillway {
namespace {

constexpr std::chrono::hours kForEver{1};  // only a failure takes that long

TEST(Pressure, TheMachinesMemoryIsSeen) {
  PressureWatch watch = PressureWatch::open().value();
  const MemoryPressure pressure = watch.take_sample();
  EXPECT_GT(pressure.memory.available_bytes, 0u);
  EXPECT_LE(pressure.memory.available_bytes, pressure.memory.limit_bytes);
  EXPECT_GE(watch.take_sample().stalled_s, pressure.stalled_s);
}

TEST(PressureWatch, WhereNoFileCanBeOpenedTheLastSampleStands) {
  PressureWatch watch = PressureWatch::open().value();
  const MemoryPressure before = watch.take_sample();
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  const rlimit none{0, files.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const MemoryPressure meanwhile = watch.take_sample();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_EQ(meanwhile.memory.total_bytes, before.memory.total_bytes);
  EXPECT_EQ(meanwhile.memory.limit_bytes, before.memory.limit_bytes);
  EXPECT_EQ(meanwhile.memory.available_bytes, before.memory.available_bytes);
}

// In a child, which can be moved without moving the tests.
TEST(PressureWatch, AMoveToAnotherCgroupIsNoticed) {
  constexpr uint64_t kLimitBytes = 512 * MiB;
  const auto group = MemoryCgroup::create(fmt::format("spillway-pressure-{}", ::getpid()), kLimitBytes);
  if (!group) GTEST_SKIP() << group.error().message();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    PressureWatch watch = PressureWatch::open().value();
    if (watch.take_sample().memory.limit_bytes == kLimitBytes || !group->add(::getpid())) ::_exit(2);
    for (int i = 0; i < 600; ++i) {  // a minute: only a failure takes that long
      if (watch.take_sample().memory.limit_bytes == kLimitBytes) ::_exit(0);
      watch.wait(std::chrono::milliseconds(100));
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: never noticed";
}

// Cheaply: what is asked for is the group's own number.
TEST(PressureWatch, WhatAGroupTakesAfterALookIsSeenAtAGlance) {
  const auto group = MemoryCgroup::create(fmt::format("spillway-check-{}", ::getpid()), 512 * MiB);
  if (!group) GTEST_SKIP() << group.error().message();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!group->add(::getpid())) ::_exit(2);
    PressureWatch watch = PressureWatch::open().value();
    (void)watch.take_sample();
    if (watch.has_risen(16 * MiB)) ::_exit(3);
    std::vector<std::byte> memory(32 * MiB, std::byte{1});
    if (!watch.has_risen(16 * MiB)) ::_exit(4);
    (void)watch.take_sample();
    if (watch.has_risen(16 * MiB)) ::_exit(5);
    ::_exit(memory.back() == std::byte{1} ? 0 : 6);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "3, 5: seen too much; 4: not seen";
}

TEST(PressureWatch, AnotherThreadEndsTheWaitAlsoBeforeItBegins) {
  PressureWatch watch = PressureWatch::open().value();
  watch.wake();
  watch.wait(kForEver);
  // Whether it is heard while waiting or before.
  std::thread other([&] { watch.wake(); });
  watch.wait(kForEver);
  other.join();
}

TEST(PressureWatch, TheClockEndsTheWait) {
  PressureWatch watch = PressureWatch::open().value();
  watch.wait(std::chrono::milliseconds(1));
}

}  // namespace
}  // namespace spillway
