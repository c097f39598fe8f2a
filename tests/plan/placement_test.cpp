// SPDX-License-Identifier: MIT
#include "plan/placement.h"

#include <gmock/gmock.h>

#include "base/bytes.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Mode, WhatFitsIsResident) {
  const auto choice = mode_for(4 * GiB, 4 * GiB, std::nullopt);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->mode, Mode::kResident);
  EXPECT_THAT(choice->why, HasSubstr("fit the budget"));
}

TEST(Mode, WhatDoesNotFitStreams) {
  const auto choice = mode_for(4 * GiB, 4 * GiB - 1, std::nullopt);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->mode, Mode::kStream);
  EXPECT_THAT(choice->why, AllOf(HasSubstr(format_bytes(4 * GiB)), HasSubstr("the budget leaves")));
}

TEST(Mode, OneAskedForIsTaken) {
  for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap}) {
    const auto choice = mode_for(4 * GiB, 8 * GiB, mode);
    ASSERT_TRUE(choice) << mode_name(mode);
    EXPECT_EQ(choice->mode, mode) << mode_name(mode);
    EXPECT_EQ(choice->why, "asked for");
  }
}

TEST(Mode, ResidentAskedForWithoutTheMemoryIsRefusedWithNumbersAndRemedy) {
  const auto choice = mode_for(4 * GiB, 1 * GiB, Mode::kResident);
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(choice.error().message(),
              AllOf(HasSubstr("4.00 GiB"), HasSubstr("1.00 GiB"), HasSubstr("--ram"), HasSubstr("--mode stream")));
}

TEST(Placement, HasTheFiguresOfALayout) {
  Layout layout;
  layout.pinned_bytes = 1;
  layout.ring_tensor_bytes = 2;
  layout.expert_tensor_bytes = 3;
  layout.rows_bytes = 4;
  layout.device_bytes = 5;
  layout.unused_bytes = 6;
  layout.pool_bytes = 7;
  layout.ring_pool_bytes = 8;
  const Placement placement = placement_of(layout, Mode::kStream, "because");
  EXPECT_EQ(placement.mode, Mode::kStream);
  EXPECT_EQ(placement.why, "because");
  EXPECT_EQ(placement.pinned_bytes, 1u);
  EXPECT_EQ(placement.ring_tensor_bytes, 2u);
  EXPECT_EQ(placement.expert_tensor_bytes, 3u);
  EXPECT_EQ(placement.rows_bytes, 4u);
  EXPECT_EQ(placement.device_bytes, 5u);
  EXPECT_EQ(placement.unused_bytes, 6u);
  EXPECT_EQ(placement.pool_bytes, 7u);
  EXPECT_EQ(placement.ring_pool_bytes, 8u);
}

}  // namespace
}  // namespace spillway
