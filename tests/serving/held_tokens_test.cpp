// SPDX-License-Identifier: MIT
#include "engine/held_tokens.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(HeldTokens, WhereNothingIsForgottenItIsCutAnywhere) {
  const HeldTokens held{.n = 100};
  EXPECT_EQ(held.cut_to(40), 40u);
  EXPECT_EQ(held.cut_to(200), 100u);
}

TEST(HeldTokens, AWindowIsCutWhereWhatTheNextTokenLooksAtIsThere) {
  // The token at position 64 looks at 33 to 63 and itself.
  const HeldTokens held{.n = 100, .first = 33, .window = 32};
  EXPECT_EQ(held.cut_to(64), 64u);
  EXPECT_EQ(held.cut_to(63), 0u);
  EXPECT_EQ(held.cut_to(100), 100u);
}

TEST(HeldTokens, WithinItsFirstWindowASequenceIsCutAnywhere) {
  const HeldTokens held{.n = 30, .first = 0, .window = 32};
  EXPECT_EQ(held.cut_to(1), 1u);
}

TEST(HeldTokens, WithoutItsBeginningNothingButAWindowMakesSense) {
  EXPECT_EQ((HeldTokens{.n = 30, .first = 2}).cut_to(10), 0u);
}

TEST(HeldTokens, AStateOfAllTokensIsNotCut) {
  const HeldTokens held{.n = 100, .first = 99, .whole_only = true};
  EXPECT_EQ(held.cut_to(99), 0u);
  EXPECT_EQ(held.cut_to(100), 100u);
}

TEST(HeldTokens, WhatWasRestoredHasAWindowAndNoMore) {
  const HeldTokens held = HeldTokens::restored(100, 32, false);
  EXPECT_EQ(held.cut_to(100), 100u);
  EXPECT_EQ(held.cut_to(98), 0u);
  EXPECT_EQ(HeldTokens::restored(20, 32, false).cut_to(3), 3u);
}

}  // namespace
}  // namespace spillway
