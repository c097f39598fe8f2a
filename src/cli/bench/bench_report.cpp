// SPDX-License-Identifier: MIT
#include "cli/bench/bench_report.h"

#include <algorithm>

#include "base/median.h"

namespace spillway {
namespace {

std::optional<double> ratio(const std::optional<double>& a, const std::optional<double>& b) {
  return a && b && *b > 0 ? std::optional(*a / *b) : std::nullopt;
}

// Medians of few runs may pass the limit by what clocks and counters round.
constexpr double kLimitPassedMin = 1.02;

std::vector<double> values_of(const std::vector<BenchRun>& runs, std::optional<double> BenchFigures::*figure) {
  std::vector<double> values;
  for (const BenchRun& run : runs)
    if (run.outcome == BenchOutcome::kOk && run.figures.*figure) values.push_back(*(run.figures.*figure));
  return values;
}

BenchKindSummary summarize_kind(const std::vector<BenchRun>& runs) {
  BenchKindSummary summary;
  summary.kind = runs.front().kind;
  summary.n_runs = runs.size();
  for (const BenchRun& run : runs) {
    summary.rss_bytes_max = std::max(summary.rss_bytes_max, run.rss_bytes_max);
    if (run.cgroup_bytes_max)
      summary.cgroup_bytes_max = std::max(summary.cgroup_bytes_max.value_or(0), *run.cgroup_bytes_max);
    if (run.outcome == BenchOutcome::kOomKilled) ++summary.n_oom_killed;
    if (run.outcome != BenchOutcome::kOk) {
      if (summary.failure.empty()) summary.failure = run.failure;
      continue;
    }
    ++summary.n_ok;
    summary.mode = run.mode;
    summary.budget_bytes = run.budget_bytes;
  }
  for (const NamedFigure& named : named_figures())
    if (const auto values = values_of(runs, named.figure); !values.empty())
      summary.median.*named.figure = median(values);
  if (const auto rates = values_of(runs, &BenchFigures::decode_tok_per_s); !rates.empty()) {
    summary.decode_tok_per_s_min = *std::min_element(rates.begin(), rates.end());
    summary.decode_tok_per_s_max = *std::max_element(rates.begin(), rates.end());
  }
  return summary;
}

// A limit is what disk and processor were seen to do in any of the runs, not what they did on average: the best rate
// and the least time. Then nothing can pass it but a wrong account.
BenchLimits limits_of(const BenchFigures& ours, const std::vector<BenchRun>& runs) {
  BenchLimits limits;
  limits.bytes_per_token = ours.bytes_read_per_token;
  for (const BenchRun& run : runs) {
    if (run.outcome != BenchOutcome::kOk || is_llama_bench(run.kind)) continue;
    if (run.figures.disk_bytes_per_s)
      limits.disk_bytes_per_s = std::max(limits.disk_bytes_per_s.value_or(0), *run.figures.disk_bytes_per_s);
    const bool is_resident = run.kind == BenchKind::kResident;
    const std::optional<double> compute_s =
        is_resident ? ratio(1.0, run.figures.decode_tok_per_s)
                    : (is_under_test(run.kind) ? run.figures.compute_s_per_token : std::nullopt);
    if (!compute_s || (limits.compute_s_per_token && *compute_s >= *limits.compute_s_per_token)) continue;
    limits.compute_s_per_token = compute_s;
    limits.compute_is_resident = is_resident;
  }
  const double bytes = limits.bytes_per_token.value_or(0);
  const std::optional<double> read_s = bytes > 0 ? ratio(bytes, limits.disk_bytes_per_s) : std::optional(0.0);
  if (!limits.bytes_per_token || !read_s) return limits;  // over a mapping, nobody knows what is read
  if (*read_s > 0) limits.read_tok_per_s = 1 / *read_s;
  if (limits.compute_s_per_token) {
    limits.serial_tok_per_s = ratio(1.0, *limits.compute_s_per_token + *read_s);
    limits.overlap_tok_per_s = ratio(1.0, std::max(*limits.compute_s_per_token, *read_s));
  }
  limits.read_fraction = ratio(ours.decode_tok_per_s, limits.read_tok_per_s);
  limits.serial_fraction = ratio(ours.decode_tok_per_s, limits.serial_tok_per_s);
  limits.overlap_fraction = ratio(ours.decode_tok_per_s, limits.overlap_tok_per_s);
  return limits;
}

// Each of our runs by the limit of its own repetition: a disk that drifts is as fast in none of the others.
void hold_to_own_repetition(const std::vector<BenchRun>& runs, BenchLimits& limits) {
  std::vector<double> overlap, read;
  for (const BenchRun& ours : runs) {
    if (ours.kind != BenchKind::kOurs || ours.outcome != BenchOutcome::kOk) continue;
    std::vector<BenchRun> beside;
    std::copy_if(runs.begin(), runs.end(), std::back_inserter(beside),
                 [&](const BenchRun& run) { return run.repetition == ours.repetition; });
    const BenchLimits own = limits_of(ours.figures, beside);
    if (own.overlap_fraction) overlap.push_back(*own.overlap_fraction);
    if (own.read_fraction) read.push_back(*own.read_fraction);
  }
  if (!overlap.empty()) limits.overlap_fraction_in_turn = median(overlap);
  if (!read.empty()) limits.read_fraction_in_turn = median(read);
}

void compare_logits(const std::vector<BenchRun>& runs, BenchReport& report) {
  for (const BenchRun& run : runs) {
    if (!has_comparable_logits(run.kind) || run.outcome != BenchOutcome::kOk || run.logits_hash.empty()) continue;
    if (report.n_hashes_compared++ == 0) report.logits_hash = run.logits_hash;
    report.logits_equal = report.logits_equal && run.logits_hash == report.logits_hash;
  }
}

}  // namespace

const BenchKindSummary* BenchReport::find(BenchKind kind) const {
  const auto found =
      std::find_if(kinds.begin(), kinds.end(), [&](const BenchKindSummary& summary) { return summary.kind == kind; });
  return found != kinds.end() ? &*found : nullptr;
}

BenchReport summarize_bench(const std::vector<BenchRun>& runs) {
  BenchReport report;
  for (int k = 0; k <= static_cast<int>(BenchKind::kLlamaBenchFree); ++k) {
    std::vector<BenchRun> of_kind;
    std::copy_if(runs.begin(), runs.end(), std::back_inserter(of_kind),
                 [&](const BenchRun& run) { return run.kind == static_cast<BenchKind>(k); });
    if (!of_kind.empty()) report.kinds.push_back(summarize_kind(of_kind));
  }
  for (const BenchRun& run : runs)
    if (is_under_test(run.kind) && run.outcome != BenchOutcome::kOk) report.ours_ok = false;
  compare_logits(runs, report);

  const auto figures = [&](BenchKind kind) {
    const BenchKindSummary* found = report.find(kind);
    return found != nullptr ? found->median : BenchFigures{};
  };
  const BenchFigures ours = figures(BenchKind::kOurs);
  report.limits = limits_of(ours, runs);
  hold_to_own_repetition(runs, report.limits);
  report.limit_is_passed =
      std::max(report.limits.overlap_fraction.value_or(0), report.limits.read_fraction.value_or(0)) > kLimitPassedMin;
  report.achieved_of_predicted = ratio(ours.decode_tok_per_s, ours.predicted_tok_per_s);
  report.times_baseline = ratio(ours.decode_tok_per_s, figures(BenchKind::kBaseline).decode_tok_per_s);
  report.times_llama_bench = ratio(ours.decode_tok_per_s, figures(BenchKind::kLlamaBench).decode_tok_per_s);
  const BenchFigures resident_free = figures(BenchKind::kResidentFree);
  const BenchFigures llama_free = figures(BenchKind::kLlamaBenchFree);
  report.free_decode_ratio = ratio(resident_free.decode_tok_per_s, llama_free.decode_tok_per_s);
  report.free_prefill_ratio = ratio(resident_free.prefill_tok_per_s, llama_free.prefill_tok_per_s);
  return report;
}

}  // namespace spillway
