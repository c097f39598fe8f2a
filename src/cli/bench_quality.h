// SPDX-License-Identifier: MIT
// The runs of `spillway bench --plan-quality`: every way to run a model within the same budgets, in turn. The fastest
// shows what the planner should have chosen.
#pragma once

#include <cstdint>
#include <vector>

#include "cli/bench_runner.h"
#include "cli/plan_quality.h"

namespace spillway {

struct QualityTask {
  BenchTask run;                          // made in every way
  std::vector<uint32_t> budgets_percent;  // of the weights
  uint32_t n_repeat = 1;
};

// One point for each budget, in order. Shows its progress on a terminal. Of `setup`, budget and mode are set here.
//   errors of BenchRunner::run
Result<std::vector<QualityPoint>> measure_plan_quality(const QualityTask& task, const GgufModel& model,
                                                       BenchSetup setup);

}  // namespace spillway
