// SPDX-License-Identifier: MIT
// What is read, when, and who leaves for it.
#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "residency_fixture.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

TEST(ResidencyReads, DemandIsReadBeforeCertainBeforeSpeculative) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3}), Priority::kSpeculative);
  weights.cache().request(ids({6, 5, 4}), Priority::kCertain);
  weights.cache().request(ids({9, 7, 8}), Priority::kDemand);
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 9, 7, 8, 6, 5, 4, 1, 2, 3})));
}

TEST(ResidencyReads, LikelyIsReadAfterCertainAndBeforeSpeculative) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1}), Priority::kSpeculative);
  weights.cache().request(ids({2, 3}), Priority::kLikely);
  weights.cache().request(ids({4}), Priority::kCertain);
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 4, 2, 3, 1})));
}

TEST(ResidencyReads, ACancelledGuessGivesItsMemoryToTheNext) {
  Residency weights({{Pool::kExperts, 10, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kLikely);
  weights.settle();
  weights.cache().request(ids({4}), Priority::kLikely);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3}))) << "guesses stay until judged";
  weights.cache().cancel(ids({2}));
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 3, 4})));
  EXPECT_EQ(weights.cache().stats().bytes_wasted, 2 * kPageBytes);
}

TEST(ResidencyReads, ACancelledGuessThatWasQueuedIsNotRead) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3}), Priority::kLikely);
  weights.cache().request(ids({2}), Priority::kDemand);
  weights.cache().cancel(ids({1, 2}));
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 2, 3}))) << "what was asked for since is read all the same";
}

TEST(ResidencyReads, AskingMoreUrgentlyMovesAnExtentForwardAndItIsReadOnce) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3}), Priority::kSpeculative);
  weights.cache().request(ids({4, 3}), Priority::kCertain);
  weights.cache().request(ids({5, 3}), Priority::kDemand);
  weights.cache().request(ids({3, 4, 5}), Priority::kSpeculative);
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 5, 3, 4, 1, 2})));
}

TEST(ResidencyReads, WhatACallerWaitsForIsReadBeforeWhatWasOnlyAskedFor) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3, 4, 5}), Priority::kDemand);
  std::thread caller([&] { EXPECT_TRUE(weights.use(ids({9, 4}))); });
  while (weights.cache().stats().misses < 5 + 1) std::this_thread::yield();  // a use is counted when it is asked for
  held.go_on();
  caller.join();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 9, 4, 1, 2, 3, 5})));
}

TEST(ResidencyReads, ALengthWithoutASlotDoesNotHoldUpOthers) {
  Residency weights({{Pool::kExperts, 300, 2, 1}, {Pool::kExperts, 4, 5, 4}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 300), Priority::kDemand);
  weights.cache().request(ids_from(300, 4), Priority::kDemand);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 300, 301, 302, 303})));
}

TEST(ResidencyReads, ReadAheadStaysUntilItIsUsed) {
  Residency weights({{Pool::kExperts, 10, 2, 4}}, {}, kInOrder);
  for (const Priority priority : {Priority::kDemand, Priority::kCertain, Priority::kLikely}) {
    weights.cache().drop_interest();
    weights.cache().request(ids({0, 1, 2, 3}), priority);
    weights.settle();
    weights.cache().request(ids({4, 5}), Priority::kDemand);
    weights.cache().request(ids({6}), Priority::kCertain);
    weights.cache().request(ids({7}), Priority::kSpeculative);
    weights.settle();
    EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3})));
  }
}

TEST(ResidencyReads, WhatWasReadAheadGoesOnlyWhenACallerWouldWaitForEver) {
  Residency weights({{Pool::kExperts, 10, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kDemand);
  weights.settle();
  ASSERT_TRUE(weights.cache().acquire(ids({4}), false));
  EXPECT_TRUE(weights.cache().is_resident(ExtentId{4}));
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 4})));  // the one asked for last
  weights.cache().release(ids({4}));
  ASSERT_TRUE(weights.cache().acquire(ids({5}), false));
  EXPECT_FALSE(weights.cache().is_resident(ExtentId{4}));  // and none where another could go
  weights.cache().release(ids({5}));
}

TEST(ResidencyReads, MoreMayBeAskedForThanFitsAndTakenInAnotherOrder) {
  Residency weights({{Pool::kExperts, 300, 2, 4}, {Pool::kRing, 300, 2, 4}}, {}, {.seed = 9});
  for (const Priority priority : {Priority::kDemand, Priority::kCertain, Priority::kSpeculative}) {
    weights.cache().request(ids_from(0, 600), priority);
    for (uint32_t n = 600; n >= 2; n -= 2) ASSERT_TRUE(weights.use(reversed(ids_from(n - 2, 2))));
    weights.cache().request(ids_from(0, 600), priority);
    TRACE_SEED();
    std::mt19937_64 random(test_seed());
    for (int i = 0; i < 200; ++i)
      ASSERT_TRUE(weights.use(ids_from(static_cast<uint32_t>(random() % 2 * 300 + random() % 297), 4)));
    weights.cache().drop_interest();
  }
}

TEST(ResidencyReads, ACycleIsReadAheadOfItsUse) {
  Residency weights({{Pool::kRing, 20, 3, 6}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 20), Priority::kCertain);
  for (int pass = 0; pass < 4; ++pass)
    for (uint32_t n = 0; n < 20; ++n) {
      weights.settle();
      ASSERT_TRUE(weights.use(ids({n})));
    }
  EXPECT_EQ(weights.cache().stats().misses, 0u);
  EXPECT_EQ(weights.cache().stats().hits, 80u);
}

TEST(ResidencyReads, TheOrderOfACycleIsLearnedFromItsFirstPass) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 5; ++round) {
    Residency weights({{Pool::kRing, 20, 3, 6}}, {}, kInOrder);
    weights.cache().request(ids_from(0, 20), Priority::kCertain);
    std::vector<uint32_t> order(20);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random);
    for (int pass = 0; pass < 4; ++pass) {
      weights.cache().reset_stats();
      for (const uint32_t n : order) {
        weights.settle();
        ASSERT_TRUE(weights.use(ids({n})));
      }
      if (pass >= 2) {
        EXPECT_EQ(weights.cache().stats().misses, 0u) << "pass " << pass;
      }
    }
  }
}

TEST(ResidencyReads, ACycleGoesOnOverTheEndOfAPass) {
  Residency weights({{Pool::kRing, 12, 3, 4}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 12), Priority::kCertain);
  for (uint32_t n = 0; n < 12; ++n) {
    weights.settle();
    ASSERT_TRUE(weights.use(ids({n})));
  }
  weights.cache().drop_interest();
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3})));
}

TEST(ResidencyReads, OfACycleTheLastUsedGoesFirst) {
  Residency weights({{Pool::kRing, 8, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 5), Priority::kCertain);
  weights.settle();
  weights.cache().forbid_eviction();
  ASSERT_TRUE(weights.use(ids({0, 1, 2})));
  weights.cache().allow_eviction();
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 3, 4})));
  EXPECT_EQ(weights.cache().stats().reads, 5u + 2u);  // each once, and two fences: 0 and 1 were kept, not read again
}

TEST(ResidencyReads, ACycleThatFitsIsReadOnce) {
  Residency weights({{Pool::kRing, 6, 3, 6}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 6), Priority::kCertain);
  for (int pass = 0; pass < 3; ++pass)
    for (uint32_t n = 0; n < 6; ++n) ASSERT_TRUE(weights.use(ids({n})));
  EXPECT_EQ(weights.cache().stats().reads, 6u);
}

TEST(ResidencyReads, AGuessFillsFreeMemoryAndNoMore) {
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, kInOrder);
  ASSERT_TRUE(weights.use(ids({0, 1})));
  weights.cache().request(ids({4, 5, 6}), Priority::kSpeculative);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 4, 5})));
  std::vector<double> heat(weights.cache().heat());
  heat[7] = 50;
  weights.cache().set_heat(heat);
  weights.cache().request(ids({7}), Priority::kSpeculative);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 4, 5})));
}

TEST(ResidencyReads, AGuessThatNobodyUsedGoesFirst) {
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kSpeculative);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3})));
  ASSERT_TRUE(weights.use(ids({0, 1})));
  ASSERT_TRUE(weights.use(ids({8, 9})));
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 8, 9})));
}

TEST(ResidencyReads, WhatEarlierRunsUsedMostIsKeptLongest) {
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, kInOrder);
  weights.cache().set_heat(std::vector<double>{5, 1, 4, 3});
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kSpeculative);
  weights.settle();
  ASSERT_TRUE(weights.use(ids({8})));
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 2, 3, 8})));
}

TEST(ResidencyReads, DroppedInterestIsNeitherReadNorKept) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kDemand);
  held.wait_until_held();
  weights.cache().request(ids({1, 2}), Priority::kDemand);
  weights.cache().request(ids({3}), Priority::kCertain);
  weights.cache().drop_interest();
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAre(ExtentId{0}));
  weights.cache().request(ids({4, 5, 6, 7}), Priority::kDemand);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({4, 5, 6, 7})));  // 0 had no protection left
}

TEST(ResidencyReads, AScanLeavesTheHotSet) {
  Residency weights({{Pool::kExperts, 100, 2, 10}}, {.expert_policy = "lfu"}, kInOrder);
  const Ids hot = ids({3, 17, 40, 41, 42, 60, 99});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(weights.use(hot));
  for (int pass = 0; pass < 2; ++pass)
    for (uint32_t n = 0; n < 100; ++n) ASSERT_TRUE(weights.use(ids({n}), true));
  EXPECT_TRUE(weights.is_resident(hot));
  weights.cache().reset_stats();
  ASSERT_TRUE(weights.use(hot));
  EXPECT_EQ(weights.cache().stats().hits, hot.size());
}

TEST(ResidencyReads, LruLosesTheHotSetToAScan) {  // what the test above would see if lfu were lru
  Residency weights({{Pool::kExperts, 100, 2, 10}}, {.expert_policy = "lru"}, kInOrder);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(weights.use(ids({3, 17, 40})));
  for (uint32_t n = 0; n < 100; ++n) ASSERT_TRUE(weights.use(ids({n}), true));
  EXPECT_FALSE(weights.is_resident(ids({3, 17, 40})));
}

}  // namespace
}  // namespace spillway
