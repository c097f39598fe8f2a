// SPDX-License-Identifier: MIT
// Plays recorded and generated expert routing against the eviction policies: no memory, no threads, only who would have
// been there. The table it prints is the ground for the default policy and its half-life (store/tuning.h).
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "store/eviction_policy.h"
#include "store/tuning.h"

namespace spillway {
namespace {

// Which experts each token uses in each layer.
struct Routing {
  std::string name;
  uint32_t n_expert = 0;
  std::vector<std::vector<std::vector<uint32_t>>> tokens;  // [n_token][n_layer][n_used]

  uint32_t n_layer() const { return static_cast<uint32_t>(tokens.front().size()); }
  uint32_t n_extents() const { return n_layer() * n_expert; }
  // One token's set as a share of all.
  double token_share() const { return static_cast<double>(tokens.front().front().size()) / n_expert; }
};

// The decoded tokens of a recorded trace; nullopt where it is absent.
std::optional<Routing> recorded(const std::string& name) {
  std::ifstream file(std::string(SPILLWAY_ROUTING_FOLDER) + "/" + name + ".csv");
  if (!file) return std::nullopt;
  Routing routing{.name = name, .n_expert = 128, .tokens = {}};
  std::map<unsigned, std::map<unsigned, std::vector<uint32_t>>> by_step;
  for (std::string line; std::getline(file, line);) {
    unsigned turn = 0, phase = 0, step = 0, layer = 0, slot = 0, expert = 0;
    if (std::sscanf(line.c_str(), "%u,%u,%u,%u,%u,%u", &turn, &phase, &step, &layer, &slot, &expert) != 6) continue;
    if (phase == 1) by_step[step][layer].push_back(expert);
  }
  for (auto& [step, layers] : by_step) {
    routing.tokens.emplace_back();
    for (auto& [layer, experts] : layers) routing.tokens.back().push_back(std::move(experts));
  }
  return routing;
}

// The generator of facts/routing.md (c.1), whose statistics are within a few points of Qwen3-30B's: per layer an active
// set with Zipf-Mandelbrot popularity, tokens that repeat part of the one before, and slow drift.
Routing generated(uint64_t seed, uint32_t n_token) {
  constexpr uint32_t kLayers = 48, kExperts = 128, kUsed = 6;
  constexpr double kQ = 4, kS = 1.6, kRepeat = 0.155, kDrift = 0.10;
  std::mt19937_64 random(seed);
  const auto chance = [&] { return std::uniform_real_distribution<double>()(random); };
  Routing routing{.name = "generated", .n_expert = kExperts, .tokens = {}};
  std::vector<std::vector<uint32_t>> by_rank(kLayers);  // active experts, most popular first
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const double depth = std::min(1.0, layer / (kLayers / 4.0));
    by_rank[layer].resize(kExperts);
    std::iota(by_rank[layer].begin(), by_rank[layer].end(), 0u);
    std::shuffle(by_rank[layer].begin(), by_rank[layer].end(), random);
    by_rank[layer].resize(static_cast<size_t>((0.80 - 0.32 * depth) * kExperts));
  }
  for (uint32_t t = 0; t < n_token; ++t) {
    std::vector<std::vector<uint32_t>> token;
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<uint32_t>& ranks = by_rank[layer];
      if (chance() < kDrift) std::swap(ranks[random() % ranks.size()], ranks[random() % ranks.size()]);
      std::vector<uint32_t> used;
      if (t > 0)
        for (const uint32_t expert : routing.tokens.back()[layer])
          if (chance() < kRepeat) used.push_back(expert);
      std::vector<double> weight(ranks.size());
      for (size_t r = 0; r < ranks.size(); ++r) weight[r] = std::pow(static_cast<double>(r) + 1 + kQ, -kS);
      while (used.size() < kUsed) {
        const uint32_t expert = ranks[std::discrete_distribution<size_t>(weight.begin(), weight.end())(random)];
        if (std::find(used.begin(), used.end(), expert) == used.end()) used.push_back(expert);
      }
      token.push_back(std::move(used));
    }
    routing.tokens.push_back(std::move(token));
  }
  return routing;
}

constexpr double kCapacities[] = {0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.30, 0.50};

struct Replay {
  std::string policy = "lfu";
  double half_life_pools = kHeatHalfLifePools;
};

// Hits in percent with memory for `capacity` of all experts, as the cache chooses its victims: never one of the layer
// at hand, which is pinned.
double play(const Routing& routing, double capacity, const Replay& replay) {
  const uint32_t n = routing.n_extents();
  const auto n_slots = static_cast<size_t>(capacity * n);
  const double half_life = replay.half_life_pools * n;
  const auto policy = make_policy(replay.policy, half_life).value();
  std::vector<Usage> usages(n);
  std::vector<bool> is_resident(n);
  std::vector<uint32_t> residents;
  std::vector<std::pair<KeepOrder, uint32_t>> victims;
  uint64_t now = 0, hits = 0;
  for (const auto& token : routing.tokens)
    for (uint32_t layer = 0; layer < token.size(); ++layer) {
      std::vector<uint32_t> missed;
      for (const uint32_t expert : token[layer]) {
        const uint32_t id = layer * routing.n_expert + expert;
        is_resident[id] ? void(++hits) : missed.push_back(id);
        touch(usages[id], ++now, false, half_life);
      }
      const auto is_pinned = [&](uint32_t id) {
        return id / routing.n_expert == layer &&
               std::find(token[layer].begin(), token[layer].end(), id % routing.n_expert) != token[layer].end();
      };
      if (const size_t full = residents.size() + missed.size(); full > n_slots) {
        victims.clear();
        for (const uint32_t id : residents)
          if (!is_pinned(id)) victims.emplace_back(policy->keep_order(usages[id]), id);
        const size_t n_evict = full - n_slots;
        std::nth_element(victims.begin(), victims.begin() + static_cast<ptrdiff_t>(n_evict), victims.end());
        for (size_t v = 0; v < n_evict; ++v) is_resident[victims[v].second] = false;
        std::erase_if(residents, [&](uint32_t id) { return !is_resident[id]; });
      }
      for (const uint32_t id : missed) is_resident[id] = true;
      residents.insert(residents.end(), missed.begin(), missed.end());
    }
  return 100.0 * static_cast<double>(hits) / static_cast<double>(now);
}

double hit_percent(const Routing& routing, double capacity, const Replay& replay = {}) {
  static std::map<std::tuple<std::string, double, std::string, double>, double> played;
  const auto [at, is_new] = played.try_emplace({routing.name, capacity, replay.policy, replay.half_life_pools});
  if (is_new) at->second = play(routing, capacity, replay);
  return at->second;
}

class PolicyReplay : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    routing_ = std::string(GetParam()) == "generated" ? generated(1, 128) : recorded(GetParam());
    if (!routing_) GTEST_SKIP() << "no recorded routing at " << SPILLWAY_ROUTING_FOLDER;
    ASSERT_EQ(routing_->tokens.size(), 128u);
  }
  double lfu(double capacity) const { return hit_percent(*routing_, capacity); }
  double lru(double capacity) const { return hit_percent(*routing_, capacity, {.policy = "lru"}); }

  std::optional<Routing> routing_;
};

INSTANTIATE_TEST_SUITE_P(Routings, PolicyReplay, testing::Values("qwen3-30b-a3b", "gemma-4-26b-a4b", "generated"),
                         [](const auto& name) {
                           std::string letters = name.param;
                           std::erase_if(letters, [](char c) { return c == '-'; });
                           return letters;
                         });

TEST_P(PolicyReplay, PrintsTheTable) {
  fmt::print("{:<16} {:>9}", routing_->name, "lru");
  const std::vector<double> half_lives{0.25, 0.5, kHeatHalfLifePools, 2, 4};
  for (const double pools : half_lives) fmt::print(" {:>9}", fmt::format("lfu {}", pools));
  fmt::print("\n");
  for (const double capacity : kCapacities) {
    fmt::print("{:>14.0f} % {:>9.1f}", capacity * 100, lru(capacity));
    for (const double pools : half_lives)
      fmt::print(" {:>9.1f}", hit_percent(*routing_, capacity, {.policy = "lfu", .half_life_pools = pools}));
    fmt::print("\n");
  }
}

TEST_P(PolicyReplay, BelowOneTokensSetLruHitsNothingAndLfuDoes) {
  const double below = 0.6 * routing_->token_share();
  EXPECT_LT(lru(below), 1);
  EXPECT_GT(lfu(below), 15);
}

TEST_P(PolicyReplay, LfuHitsMoreThanLruWhenMemoryIsScarce) {
  EXPECT_GT(lfu(0.08), lru(0.08) + 2);
  EXPECT_GT(lfu(0.10), lru(0.10) + 2);
}

TEST_P(PolicyReplay, LfuIsNeverFarBelowLru) {
  for (const double capacity : kCapacities) EXPECT_GT(lfu(capacity), lru(capacity) - 1) << capacity;
}

TEST_P(PolicyReplay, FromAFifthOfTheExpertsOnThePoliciesAreWithinAFewPoints) {
  for (const double capacity : {0.20, 0.30, 0.50}) EXPECT_NEAR(lfu(capacity), lru(capacity), 4) << capacity;
}

TEST_P(PolicyReplay, MoreMemoryHitsMore) {
  double before = 0;
  for (const double capacity : kCapacities) {
    const double hits = lfu(capacity);
    EXPECT_GT(hits, before - 0.5) << capacity;
    before = hits;
  }
}

// A trace of one topic says little about how fast to forget: here the popular experts change all at once.
TEST(PolicyReplayOfTopics, LfuFollowsAChangeOfTopicAsLruDoes) {
  Routing routing = generated(1, 160);
  routing.name = "two topics";
  for (auto& token : generated(2, 160).tokens) routing.tokens.push_back(std::move(token));
  for (const double capacity : {0.08, 0.15, 0.25}) {
    const double lru = hit_percent(routing, capacity, {.policy = "lru"}), lfu = hit_percent(routing, capacity);
    fmt::print("{:<10} {:>3.0f} % {:>9.1f} {:>9} {:>9} {:>9.1f}\n", routing.name, capacity * 100, lru, "", "", lfu);
    EXPECT_GT(lfu, lru - 1) << capacity;
  }
}

}  // namespace
}  // namespace spillway
