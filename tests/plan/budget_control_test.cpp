// SPDX-License-Identifier: MIT
#include "plan/budget_control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "../os/temp_folder.h"
#include "base/bytes.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

// A cgroup with us and one other in it. We take all that we are allowed, at once.
class Shared {
 public:
  Shared(uint64_t limit_bytes, uint64_t asked_bytes, uint64_t least_bytes)
      : limit_bytes_(limit_bytes), control(asked_bytes, least_bytes) {}

  void pass(double seconds) {
    for (double until_s = now_s_ + seconds; now_s_ < until_s - 1e-9;) {
      now_s_ += 0.02;
      others_bytes =
          static_cast<uint64_t>(std::max(0.0, static_cast<double>(others_bytes) + others_bytes_per_s * 0.02));
      const uint64_t used_bytes = others_bytes + held_bytes;
      overrun = overrun || used_bytes > limit_bytes_;
      control.observe({.now_s = now_s_,
                       .available_bytes = limit_bytes_ - std::min(limit_bytes_, used_bytes),
                       .limit_bytes = limit_bytes_,
                       .held_bytes = held_bytes,
                       .stalled_s = stalled_s});
      held_bytes = control.bytes();
    }
  }

 private:
  double now_s_ = 100;
  const uint64_t limit_bytes_;

 public:
  BudgetControl control;
  uint64_t others_bytes = 0;
  double others_bytes_per_s = 0;
  uint64_t held_bytes = 0;
  double stalled_s = 7;
  bool overrun = false;
};

TEST(BudgetControl, AloneItKeepsWhatWasAskedFor) {
  Shared machine(2 * GiB, 1900 * MiB, 300 * MiB);
  machine.pass(60);
  EXPECT_EQ(machine.control.bytes(), 1900 * MiB);
  EXPECT_EQ(machine.control.shrinks(), 0u);
  EXPECT_FALSE(machine.control.is_short());
}

TEST(BudgetControl, OthersWhoTakeMemoryGetItBeforeTheLimitIsReached) {
  for (const double rate : {100.0 * MiB, 500.0 * MiB, 1000.0 * MiB, 2500.0 * MiB}) {
    Shared machine(2 * GiB, 1900 * MiB, 300 * MiB);
    machine.pass(1);
    machine.others_bytes_per_s = rate;
    machine.pass(1200 * MiB / rate);
    machine.others_bytes_per_s = 0;
    machine.pass(1);
    EXPECT_FALSE(machine.overrun) << rate;
    EXPECT_GE(machine.control.bytes(), 300 * MiB);
    EXPECT_LE(machine.control.bytes() + machine.others_bytes, 2 * GiB - kReserveBytesMin);
    EXPECT_GE(machine.control.shrinks(), 1u);
  }
}

// 2 GB/s are 4 MB between two checks, which alone would be noise.
TEST(BudgetControl, AHogIsSeenInLooksThatFollowEachOtherClosely) {
  constexpr uint64_t kRoomBytes = 1500 * MiB, kHeldBytes = 1450 * MiB;
  BudgetControl control(kHeldBytes, 100 * MiB);
  const auto look = [&](double at_s, uint64_t taken_bytes) {
    control.observe({.now_s = at_s,
                     .available_bytes = kRoomBytes - kHeldBytes - taken_bytes,
                     .limit_bytes = kRoomBytes,
                     .held_bytes = kHeldBytes,
                     .stalled_s = 0});
  };
  for (int i = 0; i < 5; ++i) look(1 + 0.02 * i, 0);
  EXPECT_EQ(control.bytes(), kHeldBytes);
  for (uint64_t i = 1; i <= 3; ++i) look(1.08 + 0.002 * static_cast<double>(i), i * 4 * MiB);
  EXPECT_LT(control.bytes(), kHeldBytes - 300 * MiB);
}

TEST(BudgetControl, WhenTheyGiveItBackItGrowsAgainSlowlyToWhatWasAskedFor) {
  Shared machine(2 * GiB, 1900 * MiB, 300 * MiB);
  machine.pass(1);
  machine.others_bytes_per_s = 1.0 * GiB;
  machine.pass(1);
  machine.others_bytes_per_s = 0;
  machine.others_bytes = 0;
  const uint64_t shrunk_bytes = machine.control.bytes();
  machine.pass(1);
  EXPECT_EQ(machine.control.bytes(), shrunk_bytes) << "not at once";
  machine.pass(2);
  EXPECT_GT(machine.control.bytes(), shrunk_bytes);
  EXPECT_LT(machine.control.bytes(), 1900 * MiB);
  machine.pass(10);
  EXPECT_EQ(machine.control.bytes(), 1900 * MiB);
  EXPECT_GT(machine.control.growths(), 1u);
}

TEST(BudgetControl, SmallMovesOfOthersDoNotMakeItBreathe) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  Shared machine(2 * GiB, 1900 * MiB, 300 * MiB);
  machine.others_bytes = 700 * MiB;
  machine.pass(20);
  const uint64_t settled_bytes = machine.control.bytes();
  const uint64_t moves = machine.control.shrinks() + machine.control.growths();
  EXPECT_GT(settled_bytes, 1200 * MiB);
  for (int i = 0; i < 2000; ++i) {
    machine.others_bytes = 700 * MiB + random() % (6 * MiB);
    machine.pass(0.02);
  }
  EXPECT_EQ(machine.control.bytes(), settled_bytes);
  EXPECT_EQ(machine.control.shrinks() + machine.control.growths(), moves);
}

TEST(BudgetControl, ALimitThatIsLoweredIsFollowed) {
  BudgetControl control(1900 * MiB, 300 * MiB);
  control.observe({.now_s = 1, .available_bytes = 100 * MiB, .limit_bytes = 2 * GiB, .held_bytes = 1900 * MiB});
  EXPECT_EQ(control.bytes(), 1900 * MiB);
  control.observe({.now_s = 1.02, .available_bytes = 0, .limit_bytes = 1 * GiB, .held_bytes = 1000 * MiB});
  EXPECT_LT(control.bytes(), 1000 * MiB);
}

TEST(BudgetControl, StallsCountOnlyWhereMemoryIsScarce) {
  Shared machine(2 * GiB, 1900 * MiB, 300 * MiB);
  machine.others_bytes = 100 * MiB;
  machine.pass(0.02);
  ASSERT_EQ(machine.control.bytes(), 1900 * MiB);
  machine.stalled_s += 0.019;
  machine.pass(0.02);
  EXPECT_LT(machine.control.bytes(), 1900 * MiB);

  Shared roomy(8 * GiB, 1900 * MiB, 300 * MiB);
  roomy.pass(0.02);
  roomy.stalled_s += 0.019;
  roomy.pass(0.02);
  EXPECT_EQ(roomy.control.bytes(), 1900 * MiB) << "somebody elsewhere";
}

TEST(BudgetControl, WithLessThanTheLeastForLongerThanAMomentItIsShortUntilThereIsMore) {
  Shared machine(2 * GiB, 1900 * MiB, 300 * MiB);
  machine.pass(1);
  machine.others_bytes = 1900 * MiB;
  machine.pass(0.2);
  EXPECT_EQ(machine.control.bytes(), 300 * MiB);
  EXPECT_FALSE(machine.control.is_short());
  machine.pass(1);
  EXPECT_TRUE(machine.control.is_short());
  machine.others_bytes = 1000 * MiB;
  machine.pass(0.1);
  EXPECT_FALSE(machine.control.is_short());
}

TEST(BudgetControl, AnotherBudgetHoldsAtOnceAndNeverGoesBelowTheLeast) {
  Shared machine(2 * GiB, 1900 * MiB, 300 * MiB);
  machine.pass(1);
  machine.control.set_asked(500 * MiB);
  EXPECT_EQ(machine.control.bytes(), 500 * MiB);
  machine.pass(10);
  EXPECT_EQ(machine.control.bytes(), 500 * MiB);
  machine.control.set_asked(100 * MiB);
  EXPECT_EQ(machine.control.bytes(), 300 * MiB);
  machine.control.set_asked(1500 * MiB);
  EXPECT_EQ(machine.control.bytes(), 1500 * MiB);
  machine.control.set_asked(3 * GiB);
  machine.pass(0.1);
  EXPECT_LT(machine.control.bytes(), 2 * GiB) << "no more than there is";
  EXPECT_EQ(machine.control.shrinks(), 1u);
}

}  // namespace
}  // namespace spillway
