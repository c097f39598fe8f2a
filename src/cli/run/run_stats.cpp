// SPDX-License-Identifier: MIT
#include "cli/run/run_stats.h"

#include <algorithm>

#include "base/bytes.h"

namespace spillway {
namespace {

std::optional<double> ratio(double a, double b) { return b > 0 ? std::optional(a / b) : std::nullopt; }

// Less is over before the reader's time is worth dividing by.
constexpr uint64_t kRatedBytesMin = 64 * MiB;

double as_double(uint64_t n) { return static_cast<double>(n); }

double busy_s(const RunMeasurement& run) { return run.at_end.reader_busy_s - run.at_decode.reader_busy_s; }

std::optional<double> busy_disk_rate(const RunMeasurement& run) {
  const uint64_t read_bytes = run.at_end.bytes_read - run.at_decode.bytes_read;
  return read_bytes >= kRatedBytesMin ? ratio(as_double(read_bytes), busy_s(run)) : std::nullopt;
}

// A sample before and after the run may both fall into a bad moment of the disk; what the run itself was given, it can
// give.
std::optional<double> best_disk_rate(const RunMeasurement& run, const RunSurroundings& surroundings) {
  const double best = std::max(
      {surroundings.disk_bytes_per_s_at_load, surroundings.disk_bytes_per_s_at_end, busy_disk_rate(run).value_or(0)});
  return best > 0 ? std::optional(best) : std::nullopt;
}

void add_limits(RunStats& stats) {
  const double bytes = *stats.bytes_read_per_token;
  if (bytes > 0 && !stats.disk_bytes_per_s) return;
  const double read_s = bytes > 0 ? bytes / *stats.disk_bytes_per_s : 0;
  stats.serial_limit_tok_per_s = ratio(1, *stats.compute_s + read_s);
  stats.overlap_limit_tok_per_s = ratio(1, std::max(*stats.compute_s, read_s));
  if (stats.overlap_limit_tok_per_s) stats.roofline_fraction = *stats.decode_tok_per_s / *stats.overlap_limit_tok_per_s;
}

void add_decode_figures(RunStats& stats, const RunMeasurement& run) {
  const double tokens = static_cast<double>(run.decode_tokens);
  const EngineStats &from = run.at_decode, &to = run.at_end;
  const double wait_s = std::clamp(to.disk_wait_s - from.disk_wait_s, 0.0, run.decode_s);
  stats.decode_tok_per_s = tokens / run.decode_s;
  stats.bytes_read_per_token = as_double(to.bytes_read - from.bytes_read) / tokens;
  const uint64_t hits = to.hits - from.hits;
  stats.hit_rate = ratio(as_double(hits), as_double(hits + to.misses - from.misses));
  stats.disk_wait_fraction = wait_s / run.decode_s;
  stats.disk_busy_fraction = std::clamp(busy_s(run) / run.decode_s, 0.0, 1.0);
  stats.busy_disk_bytes_per_s = busy_disk_rate(run);
  stats.compute_s = (run.decode_s - wait_s) / tokens;
  stats.major_faults_per_token = as_double(to.major_faults - from.major_faults) / tokens;
  add_limits(stats);
}

}  // namespace

RunStats compute_run_stats(const RunMeasurement& run, const RunSurroundings& surroundings) {
  RunStats stats;
  stats.prompt_tokens = run.prompt_tokens;
  stats.decode_tokens = run.decode_tokens;
  stats.prefill_tok_per_s = ratio(static_cast<double>(run.prompt_tokens), run.prefill_s);
  if (run.first_token_s > 0) stats.time_to_first_token_s = run.first_token_s;
  stats.disk_bytes_per_s = best_disk_rate(run, surroundings);
  if (surroundings.predicted_tok_per_s > 0) stats.predicted_tok_per_s = surroundings.predicted_tok_per_s;
  if (surroundings.predicted_prefill_tok_per_s > 0 && run.prompt_tokens >= surroundings.prefill_pass_tokens)
    stats.predicted_prefill_tok_per_s = surroundings.predicted_prefill_tok_per_s;
  if (run.decode_tokens > 0 && run.decode_s > 0) add_decode_figures(stats, run);
  stats.cpu_s_per_gb_streamed = ratio(run.at_end.streaming_cpu_s - run.at_begin.streaming_cpu_s,
                                      as_double(run.at_end.bytes_read - run.at_begin.bytes_read) / 1e9);
  const double place_cpu_s = run.at_end.place_cpu_s - run.at_begin.place_cpu_s;
  if (place_cpu_s > 0) stats.place_cpu_s = place_cpu_s;
  stats.shrinks = run.at_end.shrinks - run.at_begin.shrinks;
  stats.growths = run.at_end.growths - run.at_begin.growths;
  stats.ungated = run.at_end.ungated - run.at_begin.ungated;
  stats.peak_rss_bytes = surroundings.peak_rss_bytes;
  stats.memory = surroundings.memory;
  return stats;
}

}  // namespace spillway
