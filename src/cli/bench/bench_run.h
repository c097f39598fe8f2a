// SPDX-License-Identifier: MIT
// One run of `spillway bench`, as the child process that made it reported it. Pure: no processes, no files.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

enum class BenchKind {
  kOurs,               // capped, in the mode that was asked for
  kBaseline,           // capped, plain libllama over the kernel's mapping
  kResident,           // no cap, all in memory in the file's layout: the time that computing alone takes
  kLlamaBench,         // capped, llama.cpp's own tool in the baseline's configuration
  kLlamaBenchDefault,  // capped, llama.cpp's own tool as it comes
  kResidentFree,       // no cap, all in memory, repacked where that pays: what a user gets when the model fits
  kLlamaBenchFree,     // no cap, llama.cpp's own tool as it comes
};
const char* bench_kind_name(BenchKind kind);   // "llama_bench", in JSON
const char* bench_kind_label(BenchKind kind);  // "llama-bench, mmap", for people
bool is_llama_bench(BenchKind kind);           // else a `spillway run`
bool is_capped(BenchKind kind);
bool is_under_test(BenchKind kind);          // Spillway in the mode that the benchmark is about
bool has_comparable_logits(BenchKind kind);  // the same kernels on the same ids: its logits equal the others'

// nullopt: not measured, or without meaning in that run.
struct BenchFigures {
  std::optional<double> decode_tok_per_s, prefill_tok_per_s, bytes_read_per_token, hit_rate, disk_bytes_per_s,
      compute_s_per_token, predicted_tok_per_s, predicted_prefill_tok_per_s, major_faults_per_token,
      cpu_s_per_gb_streamed;
};

struct NamedFigure {
  const char* name;  // in the JSON of `spillway run` and of `spillway bench`
  std::optional<double> BenchFigures::*figure;
};
std::span<const NamedFigure> named_figures();

enum class BenchOutcome { kOk, kOomKilled, kFailed };
const char* bench_outcome_name(BenchOutcome outcome);  // "oom_killed"

struct BenchRun {
  BenchKind kind = BenchKind::kOurs;
  uint32_t repetition = 0;
  BenchOutcome outcome = BenchOutcome::kFailed;
  std::string failure;  // why there are no figures, in one sentence
  std::string mode;     // "stream"; empty for llama-bench
  BenchFigures figures;
  std::string logits_hash;    // empty: none
  uint64_t budget_bytes = 0;  // that the run held itself to; 0: none
  uint64_t rss_bytes_max = 0;
  std::optional<uint64_t> cgroup_bytes_max;  // page cache included
  double wall_s = 0;                         // loading included
  std::string report;                        // JSON, as the child printed it; empty: none
};

// What one child was to do.
struct BenchTask {
  BenchKind kind = BenchKind::kOurs;
  uint32_t n_prompt = 0, n_decode = 0;  // tokens to be measured; llama-bench takes one of the two per child
  bool prompt_counts = true;            // false: it is only there because an answer needs one
};

// Fills in what the child's standard output says.
//   Corrupt   it is no report, or not one of that task
Result<void> read_run_report(std::string_view output, const BenchTask& task, BenchRun& run);
Result<void> read_llama_bench_report(std::string_view output, const BenchTask& task, BenchRun& run);

}  // namespace spillway
