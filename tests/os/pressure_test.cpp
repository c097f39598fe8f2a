// SPDX-License-Identifier: MIT
#include "os/pressure.h"

#include <gtest/gtest.h>

#include <thread>

namespace spillway {
namespace {

constexpr std::chrono::hours kForEver{1};  // only a failure takes that long

TEST(Pressure, TheMachinesMemoryIsSeen) {
  PressureWatch watch = PressureWatch::open().value();
  const MemoryPressure pressure = watch.look();
  EXPECT_GT(pressure.memory.available_bytes, 0u);
  EXPECT_LE(pressure.memory.available_bytes, pressure.memory.limit_bytes);
  EXPECT_GE(watch.look().stalled_s, pressure.stalled_s);
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
