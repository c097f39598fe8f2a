// SPDX-License-Identifier: MIT
// What the runs of a benchmark add up to: medians, the limits that the hardware sets, and how near to them we are.
// Pure; rendering is bench_table.h's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/bench/bench_run.h"

namespace spillway {

// The runs of one kind: medians of those that ended well, peaks of all.
struct BenchKindSummary {
  BenchKind kind = BenchKind::kOurs;
  size_t n_runs = 0, n_ok = 0, n_oom_killed = 0;
  std::string failure;  // of the first that failed
  std::string mode;
  BenchFigures median;
  std::optional<double> decode_tok_per_s_min, decode_tok_per_s_max;
  std::optional<uint64_t> cgroup_bytes_max;
  uint64_t rss_bytes_max = 0, budget_bytes = 0;
};

// nullopt: not to be had from these runs.
struct BenchLimits {
  std::optional<double> compute_s_per_token;  // the least of the resident runs, or of our own less their waiting
  bool compute_is_resident = false;
  std::optional<double> bytes_per_token;    // our runs'
  std::optional<double> disk_bytes_per_s;   // the best of any run, while it read or in a probe
  std::optional<double> serial_tok_per_s;   // 1 / (compute + bytes / disk): nothing overlaps
  std::optional<double> overlap_tok_per_s;  // 1 / max(compute, bytes / disk): everything does
  std::optional<double> read_tok_per_s;     // disk / bytes: computing takes no time
  std::optional<double> serial_fraction, overlap_fraction, read_fraction;  // our rate over the limit
  // Each run's rate over the limit by what disk and processor did in its own repetition; the median.
  std::optional<double> overlap_fraction_in_turn, read_fraction_in_turn;
};

struct BenchReport {
  std::vector<BenchKindSummary> kinds;  // those that ran, in the order of BenchKind
  BenchLimits limits;
  std::optional<double> achieved_of_predicted;
  std::optional<double> times_baseline, times_llama_bench;      // our decode rate over theirs, all capped
  std::optional<double> free_decode_ratio, free_prefill_ratio;  // resident over llama-bench, neither capped
  size_t n_hashes_compared = 0;
  bool logits_equal = true;      // of all runs whose logits can be compared
  std::string logits_hash;       // the first of them
  bool limit_is_passed = false;  // by more than 2 %: something is counted that was not read or computed
  bool ours_ok = true;           // every run of Spillway in the mode under test ended well

  const BenchKindSummary* find(BenchKind kind) const;
};

BenchReport summarize_bench(const std::vector<BenchRun>& runs);

}  // namespace spillway
