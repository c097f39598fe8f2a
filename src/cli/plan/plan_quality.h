// SPDX-License-Identifier: MIT
// How good plans are: over several budgets, what was predicted beside what was measured, and the mode that was chosen
// beside the fastest. Pure; running is bench_runner's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/bench/bench_run.h"

namespace spillway {

// One way to run within one budget, all repetitions.
struct QualityRuns {
  std::string mode;  // "auto", "stream", "mmap": as asked for
  std::vector<BenchRun> runs;
};

struct QualityPoint {
  uint64_t ram_bytes = 0;
  std::string chosen;  // by auto; empty when it failed
  // Medians, tokens per second. nullopt: not measured.
  std::optional<double> predicted, measured;
  std::optional<double> predicted_prefill, measured_prefill;  // nullopt, too: the prompt was shorter than one pass
  struct Rival {
    std::string mode;
    std::optional<double> tok_per_s;
    // Auto's speed by this one's: the median of what each repetition gives, since a machine's speed drifts from one to
    // the next. nullopt: no repetition has both.
    std::optional<double> auto_by_this;
    std::string failure;  // empty: none
  };
  std::vector<Rival> rivals;
  bool logits_equal = true;  // of all runs within this budget

  // Predicted / measured - 1: the median of what each run gives, which predicted for the disk it found.
  std::optional<double> prediction_error, prefill_error;
  std::optional<double> of_best() const;  // auto by the fastest of all ways, its own included: at most 1
};

// The ways to run in a repetition (1..), as indices into `ways`, in their order: all but the one that auto runs anyway
// and, where the model does not fit, resident. Each begins a repetition in turn: what ran before leaves memory that is
// quicker or slower to use for the next (5 % in a virtual machine, the same one always the loser).
std::vector<size_t> ways_in_turn(const std::vector<QualityRuns>& ways, bool fits, std::string_view chosen,
                                 uint32_t repetition);

// Whether auto was faster by half in two repetitions and in none slower than that, or the way failed twice: running it
// again takes time and tells nothing.
bool has_clearly_lost(const QualityRuns& way, const QualityRuns& auto_runs);

// `ways.front()` is auto.
QualityPoint judge_point(uint64_t ram_bytes, const std::vector<QualityRuns>& ways);

std::string plan_quality_table(const std::string& model_path, const std::vector<QualityPoint>& points);
std::string plan_quality_json(const std::string& model_path, const std::vector<QualityPoint>& points);

}  // namespace spillway
