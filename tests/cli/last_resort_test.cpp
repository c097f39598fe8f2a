// SPDX-License-Identifier: MIT
#include "cli/last_resort.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

namespace spillway {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(LastResortDeathTest, WhatDoesNotStopIsLeftBehind) {
  EXPECT_EXIT(
      {
        const LastResort last_resort(milliseconds(1), [] { std::fputs("left behind", stderr); });
        for (;;) ::pause();
      },
      testing::ExitedWithCode(0), "left behind");
}

TEST(LastResort, NothingIsSaidAndNobodyWaitsWhereAllStopped) {
  bool said = false;
  {
    const LastResort last_resort(hours(24), [&] { said = true; });
  }
  EXPECT_FALSE(said);
}

}  // namespace
}  // namespace spillway
