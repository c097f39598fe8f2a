// SPDX-License-Identifier: MIT
#include "store/eviction_policy.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::DoubleNear;

constexpr double kPoolPasses = 16;  // 128 experts, 8 used

class Policy : public testing::Test {
 protected:
  // Used in each of `passes`, the numbers of which rise.
  Usage used_in(std::initializer_list<uint32_t> passes, bool scan = false) const {
    Usage usage;
    for (const uint32_t pass : passes) policy_.touch(usage, pass, scan);
    return usage;
  }
  Usage used_every(uint32_t n_passes, uint32_t until) const {
    Usage usage;
    for (uint32_t pass = n_passes; pass <= until; pass += n_passes) policy_.touch(usage, pass, false);
    return usage;
  }
  const EvictionPolicy policy_{kPoolPasses};
};

TEST_F(Policy, WhatEveryPassUsesIsSureToBeUsed) {
  EXPECT_THAT(policy_.chance(used_every(1, 1000), 1000), DoubleNear(1, 0.01));
}

TEST_F(Policy, WhatEveryFourthPassUsesHasAboutThatChance) {
  // Just used it has more, since tokens repeat the experts of those before them.
  const Usage usage = used_every(4, 1000);
  EXPECT_THAT(policy_.chance(usage, 1000), DoubleNear(0.35, 0.15));
  EXPECT_THAT(policy_.chance(usage, 1003), DoubleNear(0.22, 0.05));
}

TEST_F(Policy, WhatWasNeverUsedHasNoChance) { EXPECT_EQ(policy_.chance({}, 50), 0); }

TEST_F(Policy, AChanceFallsWithEachPassThatDoesNotUseIt) {
  const Usage usage = used_in({10, 11});
  for (uint32_t pass = 11; pass < 100; ++pass)
    EXPECT_GT(policy_.chance(usage, pass), policy_.chance(usage, pass + 1)) << pass;
}

TEST_F(Policy, OftenUsedIsMissedSoonerThanRarelyUsed) {
  EXPECT_LT(policy_.spare_passes(used_every(2, 100), 100), policy_.spare_passes(used_every(10, 100), 100));
  EXPECT_LT(policy_.spare_passes(used_every(10, 100), 100), policy_.spare_passes({}, 100));
}

TEST_F(Policy, WhatAScanBroughtGoesBeforeAllOthers) {
  EXPECT_GT(policy_.spare_passes(used_in({100}, true), 100), policy_.spare_passes({}, 100));
}

TEST_F(Policy, AScanLeavesHeatAsItIs) {
  Usage usage = used_every(2, 100);
  policy_.touch(usage, 101, true);
  EXPECT_DOUBLE_EQ(policy_.chance(usage, 101), policy_.chance(used_every(2, 100), 101));
}

// Of two extents with the same chance, the one whose layer has just been can be spared longer.
TEST_F(Policy, ALayerThatComesNextIsMissedSooner) {
  constexpr uint32_t kLayers = 48;
  double before = 0;
  for (uint32_t turns = 1; turns <= kLayers; ++turns) {
    const double spare = policy_.spare_passes(3.0, turns, kLayers);
    EXPECT_GT(spare, before);
    before = spare;
  }
}

TEST_F(Policy, WhatIsKnownFromEarlierRunsIsBelieved) {
  for (const double chance : {0.05, 0.3, 0.9})
    EXPECT_THAT(policy_.chance(policy_.usage_of(chance), 0), DoubleNear(chance, 1e-6));
}

}  // namespace
}  // namespace spillway
