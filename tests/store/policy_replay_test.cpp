// SPDX-License-Identifier: MIT
// Plays recorded and generated expert routing through the cache itself: no memory, no threads, only who was there when
// he was asked for. The hits asserted here are the ground for the policy and its constants (store/tuning.h).
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <list>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "store/residency_cache.h"

namespace spillway {
namespace {

// Which experts each token uses in each layer.
struct Routing {
  uint32_t n_expert = 0, n_layer = 0, n_used = 0;
  std::vector<std::vector<std::vector<uint32_t>>> tokens;  // [n_token][n_layer][n_used]

  uint32_t n_extents() const { return n_layer * n_expert; }
};

Routing recorded(const std::string& name) {
  std::ifstream file(std::string(SPILLWAY_ROUTING_FOLDER) + "/" + name + ".txt");
  Routing routing;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    if (std::sscanf(line.c_str(), "layers %u experts %u used %u", &routing.n_layer, &routing.n_expert,
                    &routing.n_used) == 3)
      continue;
    auto& token = routing.tokens.emplace_back(routing.n_layer);
    for (uint32_t i = 0; i < routing.n_layer * routing.n_used; ++i)
      token[i / routing.n_used].push_back(static_cast<uint32_t>(std::stoul(line.substr(2 * i, 2), nullptr, 16)));
  }
  return routing;
}

// A generator whose statistics are within a few points of Qwen3-30B's: per layer an active set with Zipf-Mandelbrot
// popularity, tokens that repeat part of the one before, and slow drift.
Routing generated(uint64_t seed, uint32_t n_token) {
  constexpr uint32_t kLayers = 48, kExperts = 128, kUsed = 6;
  constexpr double kQ = 4, kS = 1.6, kRepeat = 0.155, kDrift = 0.10;
  std::mt19937_64 random(seed);
  const auto chance = [&] { return std::uniform_real_distribution<double>()(random); };
  Routing routing{.n_expert = kExperts, .n_layer = kLayers, .n_used = kUsed, .tokens = {}};
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

// The cache with memory for a share of the experts, one extent for each.
class Cache {
 public:
  Cache(const Routing& routing, double capacity)
      : n_expert_(routing.n_expert),
        cache_(extents_of(routing), {{.pool = Pool::kExperts, .slot_bytes = 1, .n_extents = routing.n_extents()}},
               static_cast<double>(routing.n_expert) / routing.n_used) {
    const auto n_slots = static_cast<uint32_t>(capacity * routing.n_extents());
    cache_.set_n_slots(std::vector<uint32_t>{n_slots});
    cache_.grant(0, n_slots);
  }

  void use(const std::vector<std::vector<uint32_t>>& token, bool scan = false) {
    cache_.begin_pass();
    for (uint32_t layer = 0; layer < token.size(); ++layer) {
      std::vector<ExtentId> ids;
      for (const uint32_t expert : token[layer]) ids.push_back(ExtentId{layer * n_expert_ + expert});
      cache_.request(ids, Priority::kDemand, scan);
      cache_.hold(ids, scan, hold_);
      while (const auto step = cache_.next()) cache_.arrived(step->id);
      cache_.let_go(ids);
    }
  }
  // In percent, since the last time.
  double hits() {
    const CacheStats stats = cache_.stats();
    cache_.reset_stats();
    return 100.0 * static_cast<double>(stats.expert_hits) /
           static_cast<double>(stats.expert_hits + stats.expert_misses);
  }

 private:
  static std::vector<Extent> extents_of(const Routing& routing) {
    std::vector<Extent> extents;
    for (uint32_t i = 0; i < routing.n_extents(); ++i)
      extents.push_back({.pool = Pool::kExperts,
                         .range = {i, 1},
                         .tensor = i / routing.n_expert,
                         .slice = i % routing.n_expert,
                         .turn = i / routing.n_expert});
    return extents;
  }
  const uint32_t n_expert_;
  ResidencyCache cache_;
  ResidencyCache::Hold hold_;
};

constexpr size_t kWarmUp = 32;  // tokens

double play(const Routing& routing, double capacity) {
  Cache cache(routing, capacity);
  for (size_t t = 0; t < routing.tokens.size(); ++t) {
    if (t == kWarmUp) cache.hits();
    cache.use(routing.tokens[t]);
  }
  return cache.hits();
}

// What the kernel's page cache would do: whoever was used longest ago goes.
double play_lru(const Routing& routing, double capacity) {
  const auto n_slots = static_cast<size_t>(capacity * routing.n_extents());
  std::list<uint32_t> by_use;  // the latest first
  std::vector<std::list<uint32_t>::iterator> where(routing.n_extents(), by_use.end());
  size_t hits = 0, uses = 0;
  for (size_t t = 0; t < routing.tokens.size(); ++t)
    for (uint32_t layer = 0; layer < routing.n_layer; ++layer)
      for (const uint32_t expert : routing.tokens[t][layer]) {
        const uint32_t id = layer * routing.n_expert + expert;
        const bool hit = where[id] != by_use.end();
        hits += hit && t >= kWarmUp;
        uses += t >= kWarmUp;
        if (hit) by_use.erase(where[id]);
        by_use.push_front(id);
        where[id] = by_use.begin();
        if (by_use.size() <= n_slots) continue;
        where[by_use.back()] = by_use.end();
        by_use.pop_back();
      }
  return 100.0 * static_cast<double>(hits) / static_cast<double>(uses);
}

struct Expected {
  const char* name;
  std::map<double, double> hits;  // capacity -> percent, at least
};

class PolicyReplay : public testing::TestWithParam<Expected> {
 protected:
  void SetUp() override {
    routing_ = recorded(GetParam().name);
    ASSERT_EQ(routing_.tokens.size(), 128u) << "no recorded routing at " << SPILLWAY_ROUTING_FOLDER;
  }
  Routing routing_;
};

// Belady's, who knows the future: 63.7, 75.5, 89.9, 94.8 (Qwen).
INSTANTIATE_TEST_SUITE_P(
    Recorded, PolicyReplay,
    testing::Values(Expected{"qwen3-30b-a3b", {{0.0625, 44.3}, {0.10, 58.4}, {0.20, 79.5}, {0.30, 90.4}}},
                    Expected{"gemma-4-26b-a4b", {{0.0625, 45.7}, {0.10, 58.1}, {0.20, 76.6}, {0.30, 87.0}}}),
    [](const auto& expected) {
      std::string letters = expected.param.name;
      std::erase_if(letters, [](char c) { return c == '-'; });
      return letters;
    });

TEST_P(PolicyReplay, HitsWhatItsConstantsWereChosenFor) {
  for (const auto& [capacity, hits] : GetParam().hits) {
    const double reached = play(routing_, capacity);
    fmt::print("{:<16} {:>5.1f} %: {:.1f} hits, lru {:.1f}\n", GetParam().name, 100 * capacity, reached,
               play_lru(routing_, capacity));
    EXPECT_GE(reached, hits) << capacity;
  }
}

TEST_P(PolicyReplay, BelowOneTokensSetLruHitsNothingAndWeDo) {
  const double below = 0.6 * routing_.n_used / routing_.n_expert;
  EXPECT_LT(play_lru(routing_, below), 1);
  EXPECT_GT(play(routing_, below), 15);
}

TEST_P(PolicyReplay, HitsMoreThanLruWhereMemoryIsScarceAndNoFewerWhereItIsNot) {
  for (const double capacity : {0.03, 0.05, 0.08, 0.15, 0.20, 0.30})
    EXPECT_GT(play(routing_, capacity), play_lru(routing_, capacity) + 0.5) << capacity;
  EXPECT_GT(play(routing_, 0.50), play_lru(routing_, 0.50) - 0.5);
}

TEST_P(PolicyReplay, MoreMemoryHitsMore) {
  double before = 0;
  for (const double capacity : {0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.30, 0.50}) {
    const double hits = play(routing_, capacity);
    EXPECT_GT(hits, before) << capacity;
    before = hits;
  }
}

// A prompt goes through the layers' experts with many tokens at once; the hits of what is decoded behind it stay
// within five points of what they were before.
TEST_P(PolicyReplay, APromptDoesNotFlushWhatDecodingUses) {
  for (const double capacity : {0.10, 0.20, 0.30}) {
    Cache cache(routing_, capacity);
    for (size_t t = 0; t < 64; ++t) cache.use(routing_.tokens[t]);
    cache.hits();
    for (size_t t = 64; t < 96; ++t) cache.use(routing_.tokens[t]);
    const double before = cache.hits();
    // The prompt: as many experts of each layer as the slots of a few layers hold.
    std::mt19937 random(1);
    for (int pass = 0; pass < 8; ++pass) {
      std::vector<std::vector<uint32_t>> many(routing_.n_layer);
      for (auto& layer : many)
        for (uint32_t expert = 0; expert < routing_.n_expert; ++expert)
          if (random() % 2 == 0) layer.push_back(expert);
      cache.use(many, true);
    }
    cache.hits();
    for (size_t t = 96; t < 128; ++t) cache.use(routing_.tokens[t]);
    EXPECT_GT(cache.hits(), before - 5) << capacity;
  }
}

// A trace of one topic says little about how fast to forget: here the popular experts change all at once.
TEST(PolicyReplayOfTopics, AChangeOfTopicIsFollowedAsLruDoes) {
  Routing routing = generated(1, 160);
  for (auto& token : generated(2, 160).tokens) routing.tokens.push_back(std::move(token));
  for (const double capacity : {0.08, 0.15, 0.25})
    EXPECT_GT(play(routing, capacity), play_lru(routing, capacity) - 1) << capacity;
}

}  // namespace
}  // namespace spillway
