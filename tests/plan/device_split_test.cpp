// SPDX-License-Identifier: MIT
#include "plan/device_split.h"

#include <gmock/gmock.h>

#include <random>

#include "../os/temp_folder.h"

namespace spillway {
namespace {

// A model of `n` layers: each on the host, whole on a device, or there without its experts.
SplitProblem random_problem(std::mt19937_64& random, size_t n_layer, size_t n_device) {
  const auto uniform = [&](double low, double high) { return std::uniform_real_distribution<>(low, high)(random); };
  SplitProblem problem;
  std::vector<double> speed{1};
  for (size_t d = 0; d < n_device; ++d) speed.push_back(uniform(2, 20));
  const double hop = uniform(0, 0.02);
  problem.hop_s.assign(n_device + 1, std::vector<double>(n_device + 1, hop));
  for (size_t h = 0; h <= n_device; ++h) problem.hop_s[h][h] = 0;
  const bool moe = random() % 2 == 0;
  const size_t n_kinds = 1 + random() % 4;
  struct Kind {
    double dense_bytes, expert_bytes, used;
  };
  std::vector<Kind> kinds;
  for (size_t k = 0; k < n_kinds; ++k)
    kinds.push_back({uniform(50, 150), moe ? uniform(300, 1500) : 0, uniform(0.05, 0.4)});
  double all_bytes = 0;
  for (size_t l = 0; l < n_layer; ++l) {
    const Kind& kind = kinds[random() % n_kinds];
    const double active = kind.dense_bytes + kind.expert_bytes * kind.used;
    const double expert_s = kind.expert_bytes * kind.used / 1000;
    auto& stage = problem.stages.emplace_back();
    stage.push_back({0, 0, active / 1000, 0});
    for (size_t h = 1; h <= n_device; ++h) {
      stage.push_back({h, static_cast<uint64_t>(kind.dense_bytes + kind.expert_bytes), active / 1000 / speed[h], 1});
      if (moe)
        stage.push_back(
            {h, static_cast<uint64_t>(kind.dense_bytes), kind.dense_bytes / 1000 / speed[h] + expert_s + 2 * hop, 2});
    }
    all_bytes += kind.dense_bytes + kind.expert_bytes;
  }
  problem.capacity_bytes = {0};
  for (size_t d = 0; d < n_device; ++d)
    problem.capacity_bytes.push_back(static_cast<uint64_t>(all_bytes * uniform(0, 0.7)));
  return problem;
}

// The host's memory is limited too, and some devices share it.
SplitProblem with_host_limit(std::mt19937_64& random, SplitProblem problem) {
  std::vector<bool> shares{false};
  for (size_t h = 1; h < problem.capacity_bytes.size(); ++h) shares.push_back(random() % 2 == 0);
  uint64_t all_bytes = 0;
  for (auto& stage : problem.stages) {
    const uint64_t dense_bytes = stage.back().bytes, whole_bytes = stage[1].bytes;
    stage[0].host_bytes = whole_bytes;
    for (size_t o = 1; o < stage.size(); ++o) {
      const uint64_t stays_bytes = stage[o].kind == 2 ? whole_bytes - dense_bytes : 0;
      stage[o].host_bytes = stays_bytes + (shares[stage[o].home] ? stage[o].bytes : 0);
    }
    all_bytes += whole_bytes;
  }
  for (size_t h = 0; h < shares.size(); ++h) problem.join_host_bytes.push_back(shares[h] ? random() % 100 : 0);
  problem.capacity_bytes[0] =
      static_cast<uint64_t>(static_cast<double>(all_bytes) * std::uniform_real_distribution<>(0, 1.1)(random));
  return problem;
}

constexpr double kNever = 1e300;

// From scratch, in bytes: kNever where a choice does not fit, or goes back to a home before.
double seconds_of(const SplitProblem& problem, const std::vector<size_t>& chosen) {
  std::vector<uint64_t> used_bytes(problem.capacity_bytes.size(), 0);
  double seconds = 0;
  size_t home = 0;
  for (size_t s = 0; s < problem.stages.size(); ++s) {
    const StageOption& option = problem.stages[s].at(chosen.at(s));
    if (option.home < home) return kNever;
    seconds += option.seconds + problem.hop_s[home][option.home];
    used_bytes[0] += option.host_bytes + problem.join_bytes(home, option.home);
    if (option.home > 0) used_bytes[option.home] += option.bytes;
    home = option.home;
  }
  for (size_t h = 0; h < used_bytes.size(); ++h)
    if (used_bytes[h] > problem.capacity_bytes[h]) return kNever;
  return seconds;
}

// Every choice there is.
double least_seconds(const SplitProblem& problem, std::vector<size_t>& chosen, size_t s = 0) {
  if (s == problem.stages.size()) return seconds_of(problem, chosen);
  double best = kNever;
  for (size_t o = 0; o < problem.stages[s].size(); ++o) {
    chosen[s] = o;
    best = std::min(best, least_seconds(problem, chosen, s + 1));
  }
  return best;
}

double least_seconds(const SplitProblem& problem) {
  std::vector<size_t> chosen(problem.stages.size());
  return least_seconds(problem, chosen);
}

// With as much of each memory left free as a split may miss.
double least_seconds_promised(SplitProblem problem) {
  for (uint64_t& bytes : problem.capacity_bytes)
    bytes -= std::min(bytes, bytes * 2 * problem.stages.size() / kSplitSteps + 1);
  return least_seconds(problem);
}

void expect_as_promised(const SplitProblem& problem, const Split& split) {
  const double promised_s = least_seconds_promised(problem);
  if (split.chosen.empty()) {
    EXPECT_EQ(promised_s, kNever);
    return;
  }
  EXPECT_NEAR(split.seconds, seconds_of(problem, split.chosen), 1e-9);
  EXPECT_LE(split.seconds, promised_s + 1e-9);
}

TEST(DeviceSplit, WhatIsFoundFitsAndIsAsFastAsWhatTryingEverythingFinds) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  int n_optimal = 0;
  for (int round = 0; round < 120; ++round) {
    SCOPED_TRACE(round);
    const size_t n_device = 1 + random() % 2;
    const SplitProblem problem = random_problem(random, n_device == 1 ? 7 : 5, n_device);
    const Split split = split_over_homes(problem);
    expect_as_promised(problem, split);
    n_optimal += split.seconds < least_seconds(problem) + 1e-9;
  }
  EXPECT_GE(n_optimal, 115) << "of 120";
}

TEST(DeviceSplit, WithTheHostsMemoryLimitedItIsToo) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed() + 3);
  int n_possible = 0, n_optimal = 0;
  for (int round = 0; round < 120; ++round) {
    SCOPED_TRACE(round);
    const size_t n_device = 1 + random() % 2;
    const SplitProblem problem = with_host_limit(random, random_problem(random, n_device == 1 ? 7 : 5, n_device));
    const Split split = split_over_homes(problem);
    expect_as_promised(problem, split);
    const double best_s = least_seconds(problem);
    if (best_s == kNever) continue;
    ++n_possible;
    n_optimal += !split.chosen.empty() && split.seconds < best_s + 1e-9;
  }
  EXPECT_GE(n_possible, 20);
  EXPECT_LE(n_possible, 100);
  EXPECT_GE(n_optimal, n_possible - 5);
}

TEST(DeviceSplit, WhereAllFitsOnTheHostASplitIsFound) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed() + 1);
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(round);
    SplitProblem problem = with_host_limit(random, random_problem(random, 4 + random() % 60, 1 + random() % 3));
    const std::vector<size_t> on_host(problem.stages.size(), 0);
    problem.capacity_bytes[0] = 0;
    for (const auto& stage : problem.stages) problem.capacity_bytes[0] += stage[0].host_bytes;
    const Split split = split_over_homes(problem);
    ASSERT_FALSE(split.chosen.empty());
    EXPECT_NEAR(split.seconds, seconds_of(problem, split.chosen), 1e-9);
    EXPECT_LE(split.seconds, seconds_of(problem, on_host) + 1e-9);
  }
}

TEST(DeviceSplit, MoreMemoryIsNeverSlowerByMoreThanOnePercent) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed() + 2);
  for (int round = 0; round < 40; ++round) {
    SplitProblem problem = random_problem(random, 4 + random() % 60, 1 + random() % 2);
    double before = split_over_homes(problem).seconds;
    for (int more = 0; more < 5; ++more) {
      for (size_t h = 1; h < problem.capacity_bytes.size(); ++h)
        problem.capacity_bytes[h] += problem.capacity_bytes[h] / 8 + random() % 100;
      const double after = split_over_homes(problem).seconds;
      EXPECT_LE(after, before * 1.01) << "round " << round;
      before = std::min(before, after);
    }
  }
}

// A hundred layers, of 20 kinds so that no two chains are alike, over 16 devices that share memory or not.
TEST(DeviceSplit, AsManyDevicesAsLibllamaTakesAreSplitOver) {
  std::mt19937_64 random(5);
  const SplitProblem problem = with_host_limit(random, random_problem(random, 100, 16));
  const Split split = split_over_homes(problem);
  ASSERT_FALSE(split.chosen.empty());
  EXPECT_NEAR(split.seconds, seconds_of(problem, split.chosen), 1e-9);
}

// Every layer takes a third of a device: what is left of it is too little for a fourth, by one byte.
TEST(DeviceSplit, MemoryIsCountedToTheByte) {
  SplitProblem problem;
  problem.capacity_bytes = {0, 3 << 20};
  problem.hop_s = {{0, 0}, {0, 0}};
  problem.stages.assign(4, {{.home = 0, .seconds = 1}, {.home = 1, .bytes = 1 << 20, .seconds = 0.1, .kind = 1}});
  EXPECT_EQ(split_over_homes(problem).chosen, (std::vector<size_t>{0, 1, 1, 1}));
  --problem.capacity_bytes[1];
  EXPECT_EQ(split_over_homes(problem).chosen, (std::vector<size_t>{0, 0, 1, 1}));
}

TEST(DeviceSplit, AStageWithoutRoomAnywhereHasNoSplit) {
  SplitProblem problem;
  problem.capacity_bytes = {0, 50};
  problem.hop_s = {{0, 0}, {0, 0}};
  problem.stages = {{{.home = 1, .bytes = 100, .seconds = 1, .kind = 1}}};
  EXPECT_TRUE(split_over_homes(problem).chosen.empty());
}

// Whole on the device is fastest and too much; without their experts, all are there.
TEST(DeviceSplit, LayersWithoutTheirExpertsTakeWhatRoomIsLeft) {
  SplitProblem problem;
  problem.capacity_bytes = {0, 160};
  problem.hop_s = {{0, 0.1}, {0, 0}};
  problem.stages.assign(3, {{.home = 0, .seconds = 1},
                            {.home = 1, .bytes = 100, .seconds = 0.1, .kind = 1},
                            {.home = 1, .bytes = 30, .seconds = 0.4, .kind = 2}});
  EXPECT_NEAR(split_over_homes(problem).seconds, 0.1 + 0.1 + 2 * 0.4, 1e-9);
}

TEST(DeviceSplit, AModelThatFitsIsWholeOnTheFastestHome) {
  SplitProblem problem;
  problem.capacity_bytes = {0, 1000};
  problem.hop_s = {{0, 0.1}, {0, 0}};
  for (int l = 0; l < 10; ++l) problem.stages.push_back({{0, 0, 1.0, 0}, {1, 100, 0.1, 1}});
  EXPECT_NEAR(split_over_homes(problem).seconds, 10 * 0.1 + 0.1, 1e-9);
}

TEST(DeviceSplit, AHopThatCostsMoreThanItGainsIsNotTaken) {
  SplitProblem problem;
  problem.capacity_bytes = {0, 100};
  problem.hop_s = {{0, 2.0}, {0, 0}};
  for (int l = 0; l < 10; ++l) problem.stages.push_back({{0, 0, 1.0, 0}, {1, 100, 0.1, 1}});
  EXPECT_NEAR(split_over_homes(problem).seconds, 10.0, 1e-9);
}

}  // namespace
}  // namespace spillway
