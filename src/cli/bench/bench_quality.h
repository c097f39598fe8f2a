// SPDX-License-Identifier: MIT
// The runs of `spillway bench --plan-quality`: every way to run a model within the same budgets, in turn. The fastest
// shows what the planner should have chosen.
#pragma once

#include <cstdint>
#include <vector>

#include "cli/bench/bench_runner.h"
#include "cli/plan/plan_quality.h"

namespace spillway {

// Tokens more before what is measured where all weights fit. Experts are touched for the first time one by one, which
// in a virtual machine takes 5 times as long as using them again; what streams touches them while loading.
inline constexpr uint32_t kWarmupOfWhatFits = 40;
// What is measured lasts this long at least, since tenths of a second of this machine's bad moods are a large part of
// one.
inline constexpr double kPointSeconds = 5;

// What a run takes with a budget of so much of the weights, of the tokens that were asked for.
struct PointTokens {
  uint32_t n_warmup = 0, n_decode = 0;
};
constexpr PointTokens point_tokens(uint32_t budget_percent, PointTokens asked) {
  return {asked.n_warmup + (budget_percent < 100 ? 0 : kWarmupOfWhatFits), asked.n_decode};
}

// As many as take kPointSeconds at this rate, no fewer than asked and, with the prompt and what is warmed up before, no
// more than the context has room for.
uint32_t tokens_to_measure(double tok_per_s, uint32_t n_prompt, PointTokens asked, uint32_t n_ctx);

struct QualityTask {
  BenchTask run;                          // made in every way
  std::vector<uint32_t> budgets_percent;  // of the weights
  uint32_t n_repeat = 1;
  uint32_t n_vocab = 0;
  // Of the first repetition. Each has tokens of its own, since a few tokens miss more or fewer experts than the mean.
  uint64_t seed = 1;
};

// One point for each budget, in order; a mode that auto chose is not run again by name, nor one that has clearly lost.
// A first run of auto, which does not count, tells how many tokens the others are to take. Runs that may have to read
// start without the model in the page cache; where all weights fit, all find it there. Shows its progress on a
// terminal. Of `setup`, budget, mode and token ids are set here.
//   errors of BenchRunner::run
Result<std::vector<QualityPoint>> measure_plan_quality(const QualityTask& task, const GgufModel& model,
                                                       BenchSetup setup);

}  // namespace spillway
