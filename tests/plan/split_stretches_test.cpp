// SPDX-License-Identifier: MIT
#include "plan/split_stretches.h"

#include <gmock/gmock.h>

#include <random>

#include "../os/temp_folder.h"
#include "plan/split_moves.h"

namespace spillway {
namespace {

// `n` layers that are all alike: on the host, whole on a device, or there without experts.
SplitProblem alike(std::mt19937_64& random, size_t n, size_t n_device) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  SplitProblem problem;
  problem.capacity_bytes = {0};
  problem.hop_s.assign(n_device + 1, std::vector<double>(n_device + 1, uniform(0, 0.3)));
  for (size_t h = 0; h <= n_device; ++h) problem.hop_s[h][h] = 0;
  std::vector<StageOption> options = {{.home = 0, .bytes = 0, .seconds = 1, .kind = 0}};
  for (size_t h = 1; h <= n_device; ++h) {
    options.push_back({.home = h, .bytes = 100, .seconds = uniform(0.05, 0.4), .kind = 1});
    options.push_back({.home = h, .bytes = 30, .seconds = uniform(0.5, 0.9), .kind = 2});
    problem.capacity_bytes.push_back(static_cast<uint64_t>(uniform(0, 80) * static_cast<double>(n)));
  }
  problem.stages.assign(n, options);
  return problem;
}

double least_seconds_in_order(const SplitProblem& problem, std::vector<size_t>& chosen, size_t s = 0) {
  if (s == problem.stages.size()) return fits(problem, chosen) ? seconds_of(problem, chosen) : 1e300;
  double best = 1e300;
  for (size_t o = 0; o < problem.stages[s].size(); ++o) {
    chosen[s] = o;
    best = std::min(best, least_seconds_in_order(problem, chosen, s + 1));
  }
  return best;
}

TEST(SplitStretches, WhereLayersAreAlikeTheyAreTheOptimum) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 60; ++round) {
    const SplitProblem problem = alike(random, 6, 1 + random() % 2);
    std::vector<size_t> chosen(problem.stages.size());
    const double best = least_seconds_in_order(problem, chosen);
    const std::vector<size_t> split = split_by_stretches(problem, 0);
    ASSERT_FALSE(split.empty());
    EXPECT_TRUE(fits(problem, split)) << "round " << round;
    EXPECT_NEAR(seconds_of(problem, split), best, 1e-9) << "round " << round;
  }
}

// Three layers on the host are 3 s and its memory, on the device 4.5 s and none of it.
TEST(SplitStretches, APriceOfTheHostsMemoryMovesLayersToDevices) {
  SplitProblem problem;
  problem.capacity_bytes = {1000, 1000};
  problem.hop_s = {{0, 0.1}, {0, 0}};
  problem.stages.assign(3, {{.home = 0, .bytes = 0, .seconds = 1, .kind = 0, .host_bytes = 100},
                            {.home = 1, .bytes = 100, .seconds = 1.5, .kind = 1}});
  EXPECT_EQ(split_by_stretches(problem, 0), (std::vector<size_t>{0, 0, 0}));
  EXPECT_EQ(split_by_stretches(problem, 0.01), (std::vector<size_t>{1, 1, 1}));
}

TEST(SplitStretches, AStageWithoutRoomAnywhereHasNoSplit) {
  SplitProblem problem;
  problem.capacity_bytes = {0, 50};
  problem.hop_s = {{0, 0}, {0, 0}};
  problem.stages = {{{.home = 1, .bytes = 100, .seconds = 1, .kind = 1}}};
  EXPECT_TRUE(split_by_stretches(problem, 0).empty());
}

TEST(SplitMoves, WhatIsMadeToFitFitsAndWhatIsImprovedIsNotSlower) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed() + 1);
  for (int round = 0; round < 60; ++round) {
    const SplitProblem problem = alike(random, 4 + random() % 20, 1 + random() % 3);
    // Everything whole on the last device, whether that has room or not.
    std::vector<size_t> chosen(problem.stages.size(), problem.stages[0].size() - 2);
    ASSERT_TRUE(make_fit(problem, chosen)) << "round " << round;
    EXPECT_TRUE(fits(problem, chosen)) << "round " << round;
    const double before_s = seconds_of(problem, chosen);
    improve(problem, chosen);
    EXPECT_TRUE(fits(problem, chosen)) << "round " << round;
    EXPECT_LE(seconds_of(problem, chosen), before_s) << "round " << round;
  }
}

TEST(SplitMoves, RoomThatALargeStageLeavesIsUsedBySmallerOnes) {
  SplitProblem problem;
  problem.capacity_bytes = {0, 100};
  problem.hop_s = {{0, 0}, {0, 0}};
  const auto stage = [](uint64_t bytes, double gain) {
    return std::vector<StageOption>{{.home = 0, .bytes = 0, .seconds = 1, .kind = 0},
                                    {.home = 1, .bytes = bytes, .seconds = 1 - gain, .kind = 1}};
  };
  problem.stages = {stage(60, 0.5), stage(60, 0.4), stage(40, 0.3)};
  std::vector<size_t> chosen = {0, 1, 1};  // the first cannot join: 60 + 60 + 40
  improve(problem, chosen);
  EXPECT_EQ(chosen, (std::vector<size_t>{0, 1, 1}));
  chosen = {0, 0, 1};
  improve(problem, chosen);
  EXPECT_EQ(chosen, (std::vector<size_t>{0, 1, 1}));
}

}  // namespace
}  // namespace spillway
