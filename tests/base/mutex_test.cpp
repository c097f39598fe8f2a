// SPDX-License-Identifier: MIT
#include "base/mutex.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace spillway {
namespace {

TEST(CondVar, WaitsUntilItsConditionHolds) {
  Mutex mutex;
  CondVar changed;
  bool asked = false, answered = false;
  std::thread other([&] {
    const MutexLock lock(mutex);
    while (!asked) changed.wait(mutex);
    answered = true;
    changed.notify_all();
  });
  {
    const MutexLock lock(mutex);
    asked = true;
    changed.notify_all();
    EXPECT_TRUE(changed.wait_for(mutex, std::chrono::hours(1), [&] { return answered; }));
  }
  other.join();
}

TEST(CondVar, SaysAtItsEndWhetherTheConditionHolds) {
  Mutex mutex;
  CondVar changed;
  const MutexLock lock(mutex);
  EXPECT_FALSE(changed.wait_for(mutex, std::chrono::milliseconds(0), [] { return false; }));
  EXPECT_FALSE(changed.wait_for(mutex, std::chrono::milliseconds(1), [] { return false; }));
  EXPECT_TRUE(changed.wait_for(mutex, std::chrono::milliseconds(0), [] { return true; }));
  EXPECT_TRUE(changed.wait_for(mutex, std::chrono::milliseconds(-1), [] { return true; }));
}

}  // namespace
}  // namespace spillway
