// SPDX-License-Identifier: MIT
#include "store/eviction_policy.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "../os/temp_folder.h"

namespace spillway {
namespace {

using testing::HasSubstr;

constexpr double kHalfLife = 100;

// Usages of named extents under one policy.
class OnePool {
 public:
  explicit OnePool(const char* policy) : policy_(make_policy(policy, kHalfLife).value()) {}

  void use(const std::string& name, int times = 1, bool scan = false) {
    while (times-- > 0) touch(usages_[name], ++now_, scan, kHalfLife);
  }
  void let_pass(uint64_t accesses) { now_ += accesses; }
  KeepOrder order(const std::string& name) { return policy_->keep_order(usages_[name]); }
  std::string victim() {
    return std::min_element(usages_.begin(), usages_.end(),
                            [this](const auto& a, const auto& b) {
                              return policy_->keep_order(a.second) < policy_->keep_order(b.second);
                            })
        ->first;
  }
  double heat(const std::string& name) { return usages_[name].heat; }

 private:
  const std::unique_ptr<EvictionPolicy> policy_;
  std::map<std::string, Usage> usages_;
  uint64_t now_ = 0;
};

TEST(EvictionPolicy, UnknownNamesAreRefusedWithTheKnownOnes) {
  const auto policy = make_policy("arc", kHalfLife);
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().code(), Code::kNotFound);
  EXPECT_THAT(policy.error().message(), HasSubstr("'arc' (lru, lfu, mru)"));
  for (const char* name : {"lru", "lfu", "mru"}) EXPECT_EQ(make_policy(name, kHalfLife).value()->name(), name);
}

TEST(EvictionPolicy, LruGivesUpWhatWasUsedLongestAgo) {
  OnePool pool("lru");
  pool.use("old", 50);
  pool.use("new");
  EXPECT_EQ(pool.victim(), "old");
  pool.use("old");
  EXPECT_EQ(pool.victim(), "new");
}

TEST(EvictionPolicy, MruGivesUpWhatWasUsedLast) {
  OnePool pool("mru");
  for (const char* name : {"a", "b", "c"}) pool.use(name);
  EXPECT_EQ(pool.victim(), "c");
}

TEST(EvictionPolicy, LfuGivesUpWhatIsUsedLeast) {
  OnePool pool("lfu");
  pool.use("often", 5);
  pool.use("rarely");
  EXPECT_EQ(pool.victim(), "rarely");
}

TEST(EvictionPolicy, HeatHalvesInAHalfLife) {
  OnePool pool("lfu");
  pool.use("a");
  pool.let_pass(300);
  pool.use("a");
  EXPECT_NEAR(pool.heat("a"), 1 + 0.125, 0.01);
}

TEST(EvictionPolicy, WhatWasUsedTwiceAHalfLifeAgoIsWorthWhatWasUsedOnceNow) {
  OnePool pool("lfu");
  pool.use("twice", 2);
  pool.let_pass(99);
  pool.use("once");
  EXPECT_NEAR(pool.order("twice").worth, pool.order("once").worth, 0.01);
}

TEST(EvictionPolicy, WhatWasNeverUsedIsWorthLess) {
  for (const char* name : {"lru", "lfu"}) {
    OnePool pool(name);
    pool.use("used long ago");
    pool.let_pass(1'000'000);
    EXPECT_LT(pool.order("never"), pool.order("used long ago")) << name;
  }
}

// The plain model: the heat as it is now, halved for every half-life since the last use. Where two are as good as
// level, rounding decides.
TEST(EvictionPolicy, TheOrderOfLfuIsThatOfTheHeatAtAnyMoment) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  const auto policy = make_policy("lfu", kHalfLife).value();
  std::vector<Usage> usages(50);
  uint64_t now = 0;
  for (int step = 0; step < 2000; ++step) {
    now += 1 + random() % 20;
    touch(usages[random() % usages.size()], now, random() % 5 == 0, kHalfLife);
    const uint64_t later = now + random() % 1000;
    const auto heat = [&](const Usage& usage) {
      return usage.heat * std::exp2(-static_cast<double>(later - usage.last_use) / kHalfLife);
    };
    const Usage &a = usages[random() % usages.size()], &b = usages[random() % usages.size()];
    const KeepOrder order_a = policy->keep_order(a), order_b = policy->keep_order(b);
    if (a.scanned != b.scanned) {
      ASSERT_EQ(order_a < order_b, a.scanned);
    } else if (std::abs(heat(a) - heat(b)) > 1e-9 * heat(a)) {
      ASSERT_EQ(order_a < order_b, heat(a) < heat(b)) << heat(a) << " " << heat(b);
    }
  }
}

TEST(EvictionPolicy, LfuFollowsAChangeOfTopic) {
  OnePool pool("lfu");
  pool.use("yesterday", 40);
  pool.let_pass(1000);
  pool.use("today", 3);
  EXPECT_EQ(pool.victim(), "yesterday");
}

TEST(EvictionPolicy, LfuGivesUpScannedExtentsBeforeAllOthers) {
  OnePool pool("lfu");
  pool.use("used once long ago");
  pool.let_pass(1000);
  pool.use("scanned", 1, true);
  EXPECT_EQ(pool.victim(), "scanned");
}

TEST(EvictionPolicy, AScanAddsNoHeatAndLeavesTheOrderOfTheHotSet) {
  OnePool pool("lfu");
  pool.use("hot", 9);
  pool.use("warm", 3);
  const double before = pool.heat("hot");
  for (const char* name : {"hot", "warm", "cold", "colder"}) pool.use(name, 1, true);
  EXPECT_LT(pool.heat("hot"), before);
  EXPECT_GT(pool.order("hot"), pool.order("warm"));
  EXPECT_GT(pool.order("warm"), pool.order("cold"));
  pool.use("cold");  // chosen, so no longer merely scanned
  EXPECT_GT(pool.order("cold"), pool.order("warm"));
}

}  // namespace
}  // namespace spillway
