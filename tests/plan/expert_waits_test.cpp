// SPDX-License-Identifier: MIT
#include "plan/expert_waits.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

// 24 layers of 2 ms, 0.2 of it attention, two experts of 8 ms each to read.
constexpr ExpertWaits kToken{.n_layers = 24,
                             .n_expert_used = 2,
                             .miss_rate = 0.5,
                             .read_s = 8e-3,
                             .begin_s = 0,
                             .layer_s = 2e-3,
                             .products_share = 0.8,
                             .layers_ahead = 4,
                             .guessed_share = 1};
constexpr double kComputing_s = 24 * 2e-3, kReadingAll_s = 48 * 8e-3;

double seconds(double miss_rate, auto change) {
  ExpertWaits waits = kToken;
  waits.miss_rate = miss_rate;
  change(waits);
  return token_with_waits_s(waits);
}
double seconds(double miss_rate) {
  return seconds(miss_rate, [](ExpertWaits&) {});
}

TEST(ExpertWaits, WithoutMissesATokenTakesItsComputing) { EXPECT_NEAR(seconds(0), kComputing_s, 1e-9); }

TEST(ExpertWaits, AllMissedAndGuessedTakesTheReading) {
  // The first layer of a token has nothing to compute beside.
  EXPECT_NEAR(seconds(1), kReadingAll_s, 0.01 * kReadingAll_s);
}

TEST(ExpertWaits, UnguessedReadsRunBesideTheLaterMatricesAtMost) {
  const double unguessed_s = seconds(1, [](ExpertWaits& waits) { waits.guessed_share = 0; });
  EXPECT_GT(unguessed_s, kReadingAll_s + 0.2 * kComputing_s + 24 * 2e-3 * 0.8 / 3 - 1e-6);
  EXPECT_LT(unguessed_s, kReadingAll_s + kComputing_s);
  EXPECT_DOUBLE_EQ(unguessed_s, seconds(1, [](ExpertWaits& waits) { waits.layers_ahead = 0; })) << "nobody looks ahead";
}

TEST(ExpertWaits, FewReadsHideBehindSlowLayers) {
  const auto slow = [](ExpertWaits& waits) { waits.layer_s = 20e-3; };
  EXPECT_LT(seconds(0.05, slow), 1.005 * 24 * 20e-3);
  EXPECT_GT(seconds(0.05, [&](ExpertWaits& waits) { slow(waits), waits.layers_ahead = 0; }), 1.01 * 24 * 20e-3);
}

TEST(ExpertWaits, ReachingFartherHidesMore) {
  double before_s = 1;
  for (const uint32_t layers : {0u, 1u, 2u, 4u}) {
    const double token_s = seconds(0.08, [&](ExpertWaits& waits) { waits.layers_ahead = layers; });
    EXPECT_LT(token_s, before_s) << layers;
    before_s = token_s;
  }
}

TEST(ExpertWaits, ADiskThatComesToRestTakesLonger) {
  EXPECT_GT(seconds(0.1, [](ExpertWaits& waits) { waits.begin_s = 2e-3; }), seconds(0.1));
}

TEST(ExpertWaits, MoreMissesLongerReadsOrSlowerLayersNeverTakeLess) {
  for (int i = 0; i < 200; ++i) {
    const double miss_rate = i / 200.0, token_s = seconds(miss_rate);
    EXPECT_GE(seconds(miss_rate + 0.005), token_s) << miss_rate;
    EXPECT_GE(seconds(miss_rate, [](ExpertWaits& waits) { waits.read_s *= 1.03; }), token_s) << miss_rate;
    EXPECT_GE(seconds(miss_rate, [](ExpertWaits& waits) { waits.layer_s *= 1.03; }), token_s) << miss_rate;
  }
}

TEST(ExpertWaits, AMissedShareIsAsManyMissesAsItSays) {
  // Nothing is hidden: each expert missed costs its time.
  const auto bare = [](ExpertWaits& waits) { waits.layers_ahead = 0, waits.layer_s = 0; };
  for (const double miss_rate : {0.01, 0.1, 0.37, 0.9})
    EXPECT_NEAR(seconds(miss_rate, bare), miss_rate * kReadingAll_s, 0.01 * kReadingAll_s * miss_rate + 2e-4);
}

}  // namespace
}  // namespace spillway
