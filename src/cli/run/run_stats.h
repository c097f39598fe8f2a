// SPDX-License-Identifier: MIT
// The figures of a run, computed from what was counted while it ran. Pure; rendering is run_report.h's.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/engine.h"

namespace spillway {

// Counted while an answer was made. Durations leave out what belongs to the report itself (hashes) and to the reader
// (printing).
struct RunMeasurement {
  size_t prompt_tokens = 0;  // computed in this run: in a chat, only what was new
  double prefill_s = 0;
  double first_token_s = 0;  // from the request to the first token
  size_t decode_tokens = 0;  // decode passes, without warm-up
  double decode_s = 0;       // of those passes, choosing included
  EngineStats at_begin;      // before the prompt
  EngineStats at_decode;     // before the first decode pass that counts
  EngineStats at_end;
};

// What the run took place in.
struct RunSurroundings {
  double disk_bytes_per_s_at_load = 0;  // 0: not measured
  double disk_bytes_per_s_at_end = 0;
  double predicted_tok_per_s = 0;  // 0: not predicted
  double predicted_prefill_tok_per_s = 0;
  uint64_t prefill_pass_tokens = 0;  // prompts from this length on can be compared with it
  MemoryReport memory{};
  uint64_t peak_rss_bytes = 0;
};

// nullopt: not measured, or without meaning in this run.
struct RunStats {
  size_t prompt_tokens = 0, decode_tokens = 0;
  std::optional<double> prefill_tok_per_s, decode_tok_per_s, time_to_first_token_s;
  std::optional<double> bytes_read_per_token;  // while decoding
  std::optional<double> hit_rate;              // of the experts asked for while decoding; nullopt for dense models
  std::optional<double> disk_wait_fraction;    // of the decode time
  std::optional<double> disk_bytes_per_s;      // the best of before, after and while decoding
  // While decoding: how much of the time something was being read, and how fast that went. What both lack to 1 and to
  // the disk's rate is what streaming leaves unused.
  std::optional<double> disk_busy_fraction, busy_disk_bytes_per_s;
  // Per token: the decode time less the waiting. It is this run's own, so reads that slow the arithmetic down count as
  // compute; `spillway bench` uses the resident mode's time instead and is the stricter judge.
  std::optional<double> compute_s;
  std::optional<double> serial_limit_tok_per_s;   // 1 / (compute + bytes / bandwidth): nothing overlaps
  std::optional<double> overlap_limit_tok_per_s;  // 1 / max(compute, bytes / bandwidth): everything does
  std::optional<double> roofline_fraction;        // decode rate / overlap limit
  std::optional<double> predicted_tok_per_s, predicted_prefill_tok_per_s;
  std::optional<double> major_faults_per_token;  // while decoding
  std::optional<double> cpu_s_per_gb_streamed;   // of prompt and answer; a GB is 10^9 bytes
  std::optional<double> place_cpu_s;             // the same's, of threads that repacked or copied what was read
  uint64_t ungated = 0;
  uint64_t shrinks = 0, growths = 0;
  uint64_t peak_rss_bytes = 0;
  MemoryReport memory;
};

RunStats compute_run_stats(const RunMeasurement& run, const RunSurroundings& surroundings);

}  // namespace spillway
