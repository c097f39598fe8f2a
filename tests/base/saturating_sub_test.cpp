// SPDX-License-Identifier: MIT
#include "base/saturating_sub.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <type_traits>

namespace spillway {
namespace {

TEST(SaturatingSub, IsADifferenceWhereThereIsOne) {
  EXPECT_EQ(saturating_sub(uint64_t{9}, 4), 5u);
  EXPECT_EQ(saturating_sub(UINT64_MAX, 1), UINT64_MAX - 1);
}

TEST(SaturatingSub, EndsAtZeroInsteadOfWrappingRound) {
  EXPECT_EQ(saturating_sub(uint64_t{4}, 9), 0u);
  EXPECT_EQ(saturating_sub(uint64_t{4}, 4), 0u);
  EXPECT_EQ(saturating_sub(uint32_t{0}, UINT32_MAX), 0u);
}

TEST(SaturatingSub, HasTheTypeOfWhatIsTakenFrom) {
  static_assert(std::is_same_v<decltype(saturating_sub(uint32_t{1}, uint32_t{1})), uint32_t>);
  static_assert(std::is_same_v<decltype(saturating_sub(uint16_t{1}, 1)), uint16_t>);
}

}  // namespace
}  // namespace spillway
