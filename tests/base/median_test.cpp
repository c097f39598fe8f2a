// SPDX-License-Identifier: MIT
#include "base/median.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(Median, IsTheMiddleOneOrTheMeanOfTheTwoInTheMiddle) {
  EXPECT_DOUBLE_EQ(median({3}), 3);
  EXPECT_DOUBLE_EQ(median({9, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({100, 2, 1, 4}), 3);
}

}  // namespace
}  // namespace spillway
