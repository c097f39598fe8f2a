// SPDX-License-Identifier: MIT
#include "engine/sampling_limits.h"

#include <gtest/gtest.h>

#include <limits>

namespace spillway {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

TEST(SamplingLimits, WhatPeopleUseStaysAsItIs) {
  SamplingOptions usual;
  usual.temp = 0.01f, usual.repeat_penalty = 1.3f, usual.frequency_penalty = -2, usual.presence_penalty = 2;
  usual.logit_bias = {{3, -100.0f}, {4, -1e9f}};
  const SamplingOptions same = within_limits(usual);
  EXPECT_EQ(same.temp, usual.temp);
  EXPECT_EQ(same.repeat_penalty, usual.repeat_penalty);
  EXPECT_EQ(same.frequency_penalty, usual.frequency_penalty);
  EXPECT_EQ(same.presence_penalty, usual.presence_penalty);
  EXPECT_EQ(same.logit_bias, usual.logit_bias);
}

// Divided by it, logits would be infinite, and their differences no numbers.
TEST(SamplingLimits, ATemperatureOfNearlyNothingIsTheLikeliestToken) {
  for (const float temp : {1e-5f, 1e-38f, 1e-45f, 0.0f, -1.0f, -kInfinity}) {
    SamplingOptions options;
    options.temp = temp;
    EXPECT_EQ(within_limits(options).temp, 0) << temp;
  }
}

TEST(SamplingLimits, NothingIsInfiniteOrNoNumber) {
  for (const float odd : {kInfinity, -kInfinity, kNan, 1e-45f, -0.0f, 1e38f, -1e38f}) {
    SamplingOptions options;
    options.temp = options.top_p = options.min_p = options.typical_p = odd;
    options.repeat_penalty = options.frequency_penalty = options.presence_penalty = odd;
    options.logit_bias = {{1, odd}};
    const SamplingOptions tame = within_limits(options);
    for (const float number : {tame.temp, tame.top_p, tame.min_p, tame.typical_p, tame.repeat_penalty,
                               tame.frequency_penalty, tame.presence_penalty, tame.logit_bias[0].second}) {
      EXPECT_TRUE(std::isfinite(number)) << odd;
      EXPECT_LE(std::abs(number), 1e9f) << odd;
    }
    EXPECT_GE(tame.repeat_penalty, 1e-3f) << odd;
  }
}

}  // namespace
}  // namespace spillway
