// SPDX-License-Identifier: MIT
#include "cli/plan/plan_quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/json_writer.h"
#include "base/median.h"
#include "cli/report_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;
using Figure = std::optional<double> BenchFigures::*;

constexpr double kClearlyFaster = 1.5;
constexpr ptrdiff_t kRunsToLose = 2;

std::optional<double> median_of(const std::vector<BenchRun>& runs, Figure figure) {
  std::vector<double> values;
  for (const BenchRun& run : runs)
    if (run.outcome == BenchOutcome::kOk && run.figures.*figure) values.push_back(*(run.figures.*figure));
  return values.empty() ? std::nullopt : std::optional(median(std::move(values)));
}

// One for each repetition in which both were measured.
std::vector<double> ratios_of(const QualityRuns& numerator, const QualityRuns& denominator) {
  std::vector<double> ratios;
  for (const BenchRun& above : numerator.runs)
    for (const BenchRun& below : denominator.runs)
      if (above.repetition == below.repetition && above.figures.decode_tok_per_s &&
          below.figures.decode_tok_per_s.value_or(0) > 0)
        ratios.push_back(*above.figures.decode_tok_per_s / *below.figures.decode_tok_per_s);
  return ratios;
}

std::string shown(const std::optional<double>& value) { return value ? fmt::format("{:.2f}", *value) : "-"; }

std::optional<double> error_of(const std::vector<BenchRun>& runs, Figure predicted, Figure measured) {
  std::vector<double> errors;
  for (const BenchRun& run : runs)
    if (run.outcome == BenchOutcome::kOk && run.figures.*predicted && (run.figures.*measured).value_or(0) > 0)
      errors.push_back(*(run.figures.*predicted) / *(run.figures.*measured) - 1);
  return errors.empty() ? std::nullopt : std::optional(median(std::move(errors)));
}

std::string percent(const std::optional<double>& share) { return share ? fmt::format("{:+.0f} %", *share * 100) : "-"; }

}  // namespace

std::optional<double> QualityPoint::of_best() const {
  if (!measured) return std::nullopt;
  double share = 1;
  for (const Rival& rival : rivals) share = std::min(share, rival.auto_by_this.value_or(1));
  return share;
}

bool has_clearly_lost(const QualityRuns& way, const QualityRuns& auto_runs) {
  if (&way == &auto_runs) return false;
  const auto failed = [](const BenchRun& run) { return run.outcome != BenchOutcome::kOk; };
  const std::vector<double> ratios = ratios_of(auto_runs, way);
  if (std::ranges::count_if(way.runs, failed) >= kRunsToLose) return true;
  return std::ssize(ratios) >= kRunsToLose && std::ranges::min(ratios) >= kClearlyFaster;
}

std::vector<size_t> ways_in_turn(const std::vector<QualityRuns>& ways, bool fits, std::string_view chosen,
                                 uint32_t repetition) {
  std::vector<size_t> order;
  for (size_t i = 0; i < ways.size(); ++i)
    if (ways[i].mode != chosen && (fits || ways[i].mode != "resident")) order.push_back(i);
  const size_t first = (repetition - 1) % order.size();
  std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(first), order.end());
  return order;
}

QualityPoint judge_point(uint64_t ram_bytes, const std::vector<QualityRuns>& ways) {
  QualityPoint point;
  point.ram_bytes = ram_bytes;
  std::map<uint32_t, std::string> hashes;  // by repetition
  for (const QualityRuns& way : ways)
    for (const BenchRun& run : way.runs) {
      if (run.outcome != BenchOutcome::kOk || run.logits_hash.empty()) continue;
      const std::string& hash = hashes.try_emplace(run.repetition, run.logits_hash).first->second;
      point.logits_equal = point.logits_equal && run.logits_hash == hash;
    }
  for (const QualityRuns& way : ways) {
    const auto rate = median_of(way.runs, &BenchFigures::decode_tok_per_s);
    if (&way == &ways.front()) {
      point.measured = rate;
      point.predicted = median_of(way.runs, &BenchFigures::predicted_tok_per_s);
      point.predicted_prefill = median_of(way.runs, &BenchFigures::predicted_prefill_tok_per_s);
      if (point.predicted_prefill) point.measured_prefill = median_of(way.runs, &BenchFigures::prefill_tok_per_s);
      point.prediction_error = error_of(way.runs, &BenchFigures::predicted_tok_per_s, &BenchFigures::decode_tok_per_s);
      point.prefill_error =
          error_of(way.runs, &BenchFigures::predicted_prefill_tok_per_s, &BenchFigures::prefill_tok_per_s);
      for (const BenchRun& run : way.runs)
        if (run.outcome == BenchOutcome::kOk) point.chosen = run.mode;
      continue;
    }
    QualityPoint::Rival rival{.mode = way.mode, .tok_per_s = rate, .auto_by_this = {}, .failure = {}};
    std::vector<double> ratios = ratios_of(ways.front(), way);
    if (!ratios.empty()) rival.auto_by_this = median(std::move(ratios));
    for (const BenchRun& run : way.runs)
      if (run.outcome != BenchOutcome::kOk) rival.failure = run.failure;
    point.rivals.push_back(std::move(rival));
  }
  return point;
}

std::string plan_quality_table(const std::string& model_path, const std::vector<QualityPoint>& points) {
  const bool prefill = std::any_of(points.begin(), points.end(), [](const auto& p) { return p.measured_prefill; });
  std::string table = fmt::format("model      {}\n\n{:>10}  {:<9} {:>9} {:>9} {:>7}", model_path, "budget", "chosen",
                                  "predicted", "measured", "off by");
  if (!points.empty())
    for (const auto& rival : points.front().rivals) table += fmt::format(" {:>9}", rival.mode);
  table += fmt::format(" {:>8}", "of best");
  table += prefill ? fmt::format(" {:>10} {:>9} {:>7}\n", "prefill", "measured", "off by") : "\n";
  for (const QualityPoint& point : points) {
    const auto off = point.prediction_error, of_best = point.of_best();
    table += fmt::format("{:>10}  {:<9} {:>9} {:>9} {:>7}", format_bytes(point.ram_bytes),
                         point.chosen.empty() ? "failed" : point.chosen, shown(point.predicted), shown(point.measured),
                         percent(off));
    for (const auto& rival : point.rivals) table += fmt::format(" {:>9}", shown(rival.tok_per_s));
    table += fmt::format(" {:>8}", of_best ? fmt::format("{:.0f} %", *of_best * 100) : "-");
    if (prefill)
      table += fmt::format(" {:>10} {:>9} {:>7}", shown(point.predicted_prefill), shown(point.measured_prefill),
                           percent(point.prefill_error));
    table += point.logits_equal ? "\n" : "  LOGITS DIFFER\n";
  }
  return table +
         "\ndecode tok/s, medians; each way in the same cap, page cache included, in turn; "
         "off by and of best: medians of what each repetition gives";
}

std::string plan_quality_json(const std::string& model_path, const std::vector<QualityPoint>& points) {
  Json list = Json::array();
  for (const QualityPoint& point : points) {
    Json rivals = Json::array();
    for (const auto& rival : point.rivals)
      rivals.push_back({{"mode", rival.mode},
                        {"decode_tok_per_s", nullable(rival.tok_per_s)},
                        {"auto_by_this", nullable(rival.auto_by_this)},
                        {"failure", rival.failure.empty() ? Json(nullptr) : Json(rival.failure)}});
    list.push_back({{"ram_bytes", point.ram_bytes},
                    {"chosen", point.chosen},
                    {"predicted_tok_per_s", nullable(point.predicted)},
                    {"decode_tok_per_s", nullable(point.measured)},
                    {"prediction_error", nullable(point.prediction_error)},
                    {"of_best", nullable(point.of_best())},
                    {"predicted_prefill_tok_per_s", nullable(point.predicted_prefill)},
                    {"prefill_tok_per_s", nullable(point.measured_prefill)},
                    {"prefill_error", nullable(point.prefill_error)},
                    {"logits_equal", point.logits_equal},
                    {"rivals", std::move(rivals)}});
  }
  return write_json(Json{{"model", model_path}, {"points", std::move(list)}});
}

}  // namespace spillway
