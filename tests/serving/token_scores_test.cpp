// SPDX-License-Identifier: MIT
#include "serving/token_scores.h"

#include <gtest/gtest.h>

#include <cmath>

namespace spillway {
namespace {

TEST(TokenScores, AreLogProbabilitiesLikeliestFirst) {
  const std::vector<float> logits = {std::log(1.0f), std::log(5.0f), std::log(2.0f), std::log(2.0f)};
  const TokenScore score = score_token(logits, 0, 3);
  EXPECT_EQ(score.id, 0);
  EXPECT_NEAR(score.logprob, std::log(0.1), 1e-6);
  ASSERT_EQ(score.top.size(), 3u);
  EXPECT_EQ(score.top[0].id, 1);
  EXPECT_NEAR(score.top[0].logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(score.top[1].id, 2);  // equal ones by their id
  EXPECT_EQ(score.top[2].id, 3);
}

TEST(TokenScores, HugeLogitsDoNotOverflow) {
  const std::vector<float> logits = {3000.0f, 2999.0f};
  EXPECT_NEAR(score_token(logits, 0, 9).logprob, -0.313262, 1e-5);
  EXPECT_EQ(score_token(logits, 0, 9).top.size(), 2u);
}

TEST(TokenScores, OfWhatIsNoNumberNothingIsKnown) {
  for (const float damaged : {std::nanf(""), INFINITY}) {
    std::vector<float> logits(1000, 1.0f);
    for (size_t i = 0; i < logits.size(); i += 3) logits[i] = damaged;
    const TokenScore score = score_token(logits, 1, 5);
    EXPECT_EQ(score.id, 1);
    EXPECT_TRUE(std::isnan(score.logprob));
    EXPECT_TRUE(score.top.empty());
  }
  const std::vector<float> never_says = {0.0f, -INFINITY};
  EXPECT_EQ(score_token(never_says, 0, 1).logprob, 0.0f);
}

}  // namespace
}  // namespace spillway
