// SPDX-License-Identifier: MIT
#include "engine/logit_biases.h"

#include <gmock/gmock.h>

#include <limits>

namespace spillway {
namespace {

using testing::ElementsAre;

std::vector<float> biased(std::vector<std::pair<TokenId, float>> biases, const std::vector<TokenId>& admitted) {
  std::vector<llama_token_data> candidates;
  for (const TokenId id : admitted) candidates.push_back({id, 0.5f, 0});
  LogitBiases(std::move(biases)).add_to(candidates);
  std::vector<float> logits;
  for (const llama_token_data& candidate : candidates) logits.push_back(candidate.logit);
  return logits;
}

TEST(LogitBiases, AreAddedToTheirTokensInWhateverOrderTheyCome) {
  EXPECT_THAT(biased({{3, 1.0f}, {0, -2.0f}}, {0, 1, 2, 3}), ElementsAre(-1.5f, 0.5f, 0.5f, 1.5f));
}

// Which libllama's own sampler does only where no grammar left a token out.
TEST(LogitBiases, OfOneTokenAddUpWhateverAGrammarLeavesOut) {
  EXPECT_THAT(biased({{7, 1.0f}, {2, 9.0f}, {7, 2.0f}}, {1, 7, 8}), ElementsAre(0.5f, 3.5f, 0.5f));
  EXPECT_THAT(biased({{7, 1.0f}, {8, 9.0f}}, {}), ElementsAre());
}

TEST(LogitBiases, LeaveNumbers) {
  const float infinite = std::numeric_limits<float>::infinity();
  EXPECT_THAT(biased({{0, infinite}, {1, infinite}, {1, -infinite}}, {0, 1}), ElementsAre(1e9f, 0.5f));
}

}  // namespace
}  // namespace spillway
