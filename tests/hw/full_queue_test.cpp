// SPDX-License-Identifier: MIT
#include "hw/full_queue.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(FullQueueTest, TheTimeBeforeTheFirstReadsIsNotTheirs) {
  FullQueue full;
  full.add(8, 0.100);  // a slow start: a tenth of a second for eight
  full.add(2, 0.102);
  full.add(2, 0.104);
  EXPECT_EQ(full.reads(), 4u);
  EXPECT_NEAR(full.reads_per_s(), 1000, 1e-6);
}

TEST(FullQueueTest, OneMomentIsNoRate) {
  FullQueue full;
  EXPECT_EQ(full.reads(), 0u);
  full.add(3, 0.001);
  EXPECT_EQ(full.reads(), 0u);
  full.add(3, 0.001);  // a clock that did not move
  EXPECT_EQ(full.reads(), 0u);
  EXPECT_EQ(full.reads_per_s(), 0);
}

}  // namespace
}  // namespace spillway
