// SPDX-License-Identifier: MIT
// The report of `spillway bench`, for people (a table) and for programs (one JSON object with every run in it).
#pragma once

#include <string>
#include <vector>

#include "cli/bench/bench_report.h"

namespace spillway {

// What was measured, and how.
struct BenchHeading {
  std::string model_path, architecture;
  uint64_t weight_bytes = 0, n_layer = 0, n_expert = 0, n_expert_used = 0;
  uint64_t ram_bytes = 0;  // 0: nothing was capped or budgeted
  bool use_cgroups = true;
  unsigned n_threads = 0;
  uint32_t n_ctx = 0, n_prompt = 0, n_decode = 0, n_warmup = 0, n_repeat = 0;
  uint64_t seed = 0;
  std::vector<std::string> notes;  // what was left out, and why
};

// Lines, each ended by a newline.
std::string bench_report_table(const BenchHeading& heading, const BenchReport& report);

// On one line. Figures that are not to be had are null.
std::string bench_report_json(const BenchHeading& heading, const BenchReport& report,
                              const std::vector<BenchRun>& runs);

// "ours 1: 0123, baseline 1: 4567", for a benchmark whose logits differ.
std::string logits_by_run(const std::vector<BenchRun>& runs);

}  // namespace spillway
