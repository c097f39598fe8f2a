// SPDX-License-Identifier: MIT
#include "store/eviction_policy.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <string>

namespace spillway {
namespace {

using testing::HasSubstr;

constexpr double kHalfLife = 100;

// Usages of named extents under one policy.
class Pool {
 public:
  explicit Pool(const char* policy) : policy_(make_policy(policy, kHalfLife).value()) {}

  void use(const std::string& name, int times = 1, bool scan = false) {
    while (times-- > 0) touch(usages_[name], ++now_, scan, kHalfLife);
  }
  void let_pass(uint64_t accesses) { now_ += accesses; }
  double score(const std::string& name) { return policy_->keep_score(usages_[name], now_); }
  std::string victim() {
    return std::min_element(usages_.begin(), usages_.end(),
                            [this](const auto& a, const auto& b) {
                              return policy_->keep_score(a.second, now_) < policy_->keep_score(b.second, now_);
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
  Pool pool("lru");
  pool.use("old", 50);
  pool.use("new");
  EXPECT_EQ(pool.victim(), "old");
  pool.use("old");
  EXPECT_EQ(pool.victim(), "new");
}

TEST(EvictionPolicy, MruGivesUpWhatWasUsedLast) {
  Pool pool("mru");
  for (const char* name : {"a", "b", "c"}) pool.use(name);
  EXPECT_EQ(pool.victim(), "c");
}

TEST(EvictionPolicy, LfuGivesUpWhatIsUsedLeast) {
  Pool pool("lfu");
  pool.use("often", 5);
  pool.use("rarely");
  EXPECT_EQ(pool.victim(), "rarely");
}

TEST(EvictionPolicy, HeatHalvesInAHalfLife) {
  Pool pool("lfu");
  pool.use("a");
  EXPECT_DOUBLE_EQ(pool.score("a"), 1);
  pool.let_pass(100);
  EXPECT_DOUBLE_EQ(pool.score("a"), 0.5);
  pool.let_pass(200);
  pool.use("a");
  EXPECT_NEAR(pool.heat("a"), 1 + 0.125, 0.01);
}

TEST(EvictionPolicy, LfuFollowsAChangeOfTopic) {
  Pool pool("lfu");
  pool.use("yesterday", 40);
  pool.let_pass(1000);
  pool.use("today", 3);
  EXPECT_EQ(pool.victim(), "yesterday");
}

TEST(EvictionPolicy, LfuGivesUpScannedExtentsBeforeAllOthers) {
  Pool pool("lfu");
  pool.use("used once long ago");
  pool.let_pass(1000);
  pool.use("scanned", 1, true);
  EXPECT_EQ(pool.victim(), "scanned");
}

TEST(EvictionPolicy, AScanAddsNoHeatAndLeavesTheOrderOfTheHotSet) {
  Pool pool("lfu");
  pool.use("hot", 9);
  pool.use("warm", 3);
  const double before = pool.heat("hot");
  for (const char* name : {"hot", "warm", "cold", "colder"}) pool.use(name, 1, true);
  EXPECT_LT(pool.heat("hot"), before);
  EXPECT_GT(pool.score("hot"), pool.score("warm"));
  EXPECT_GT(pool.score("warm"), pool.score("cold"));
  pool.use("cold");  // chosen, so no longer merely scanned
  EXPECT_GT(pool.score("cold"), pool.score("warm"));
}

}  // namespace
}  // namespace spillway
