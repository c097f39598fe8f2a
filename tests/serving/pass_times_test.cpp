// SPDX-License-Identifier: MIT
#include "serving/pass_times.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(PassTimes, NothingIsKnownBeforeTheFirstPart) {
  PassTimes times;
  times.answers(0.1);
  EXPECT_EQ(times.tokens_beside_answers(), 0u);
}

// A model in memory: 100 tokens/s.
TEST(PassTimes, APartBesideAnswersTakesASecond) {
  PassTimes times;
  times.answers(0.05);
  for (const size_t n : {512u, 128u, 512u, 64u}) times.prompt(n, static_cast<double>(n) / 100);
  EXPECT_EQ(times.tokens_beside_answers(), 64u);
  EXPECT_EQ(times.tokens_beside_prompts(), 960u);
}

// One that streams: a pass reads for 8 s, and 100 tokens/s are computed besides.
TEST(PassTimes, APartIsNotSoShortThatItOnlyReads) {
  PassTimes times;
  times.answers(0.5);
  for (const size_t n : {512u, 128u, 512u, 64u}) times.prompt(n, 8 + static_cast<double>(n) / 100);
  EXPECT_NEAR(static_cast<double>(times.tokens_beside_answers()), 800, 64);
}

TEST(PassTimes, WhereATokenOfAnswersTakesLongAPartMayToo) {
  PassTimes times;
  times.answers(5);
  for (const size_t n : {512u, 128u, 512u, 64u}) times.prompt(n, static_cast<double>(n) / 100);
  EXPECT_NEAR(static_cast<double>(times.tokens_beside_answers()), 2000, 64);
}

TEST(PassTimes, WhatIsLearnedFirstIsForgotten) {
  PassTimes times;
  for (int i = 0; i < 5; ++i) times.prompt(512, 50);
  for (int i = 0; i < 60; ++i) times.prompt(i % 2 == 0 ? 512 : 128, i % 2 == 0 ? 0.512 : 0.128);
  EXPECT_NEAR(static_cast<double>(times.tokens_beside_answers()), 1000, 200);
}

}  // namespace
}  // namespace spillway
