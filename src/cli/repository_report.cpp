// SPDX-License-Identifier: MIT
#include "cli/repository_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/json_writer.h"
#include "cli/report_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

std::string here_text(const RemoteFacts& remote) {
  if (remote.download_bytes == 0) return "here";
  if (remote.download_bytes == remote.size_bytes) return "";
  return format_bytes(remote.size_bytes - remote.download_bytes) + " of it here";
}

std::vector<std::string> cells_of(const PlannedChoice& one, bool best) {
  std::vector<std::string> cells{best ? "*" : "", one.wanted, format_bytes(one.remote.size_bytes)};
  cells.push_back(one.bits_per_weight > 0 ? fmt::format("{:.2f}", one.bits_per_weight) : "-");
  if (one.plan) {
    const Prediction& p = one.plan->prediction;
    for (const std::string& cell : {one.plan->name, speed_text(p.decode_tok_per_s), speed_text(p.prefill_tok_per_s),
                                    seconds_text(p.first_token_s)})
      cells.push_back(cell);
  } else {
    cells.insert(cells.end(), {"-", "-", "-", "-"});
  }
  cells.push_back(here_text(one.remote));
  return cells;
}

// Columns as wide as their widest cell; numbers to the right.
std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  constexpr size_t kTextColumns = 2, kModeColumn = 4;
  std::vector<size_t> widths(rows.front().size());
  for (const auto& cells : rows)
    for (size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
  std::string text;
  for (const auto& cells : rows) {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      const bool left = i < kTextColumns || i == kModeColumn || i + 1 == cells.size();
      if (i > 0) line += "  ";
      line += left ? fmt::format("{:<{}}", cells[i], widths[i]) : fmt::format("{:>{}}", cells[i], widths[i]);
    }
    while (line.ends_with(' ')) line.pop_back();
    text += line + "\n";
  }
  return text;
}

std::string asked_text(double tok_per_s) { return fmt::format("{:g} tok/s", tok_per_s); }

std::string best_text(const RepositoryReport& report, const BestChoice& best) {
  const PlannedChoice& one = report.choices[best.index];
  const std::string run = fmt::format(
      "'spillway run {}'{}", one.remote.name,
      one.remote.download_bytes > 0 ? fmt::format(" downloads {}", format_bytes(one.remote.download_bytes)) : "");
  if (best.holds)
    return fmt::format("the best of those that decode at {} or more (--speed); {}", asked_text(report.asked_tok_per_s),
                       run);
  return fmt::format("the fastest; none decodes at {} (--speed); {}", asked_text(report.asked_tok_per_s), run);
}

}  // namespace

std::optional<BestChoice> best_choice(const RepositoryReport& report) {
  std::optional<BestChoice> best;
  for (size_t i = 0; i < report.choices.size(); ++i) {
    const PlannedChoice& one = report.choices[i];
    if (!one.plan) continue;
    const bool holds = one.plan->prediction.decode_tok_per_s >= report.asked_tok_per_s;
    const auto better = [&] {
      const PlannedChoice& other = report.choices[best->index];
      if (holds != best->holds) return holds;
      return holds ? one.bits_per_weight > other.bits_per_weight
                   : one.plan->prediction.decode_tok_per_s > other.plan->prediction.decode_tok_per_s;
    };
    if (!best || better()) best = BestChoice{.index = i, .holds = holds};
  }
  return best;
}

std::string repository_table(const RepositoryReport& report) {
  std::string text = row("repository", fmt::format("{}: {} models", report.repository, report.choices.size()));
  text += row("machine", fmt::format("{}: {}, {} threads, {}", report.machine->name, report.machine->cpu,
                                     report.machine->cores, format_bytes(report.machine->ram_bytes_total)));
  text += row("figures", figures_text(*report.machine, report.types));
  text += row("context", fmt::format("{} tokens for {} at once", report.n_ctx, report.n_seq));
  const auto planned = std::find_if(report.choices.begin(), report.choices.end(),
                                    [](const PlannedChoice& one) { return one.plan.has_value(); });
  if (planned != report.choices.end()) text += row("budget", format_bytes(planned->plan->host.memory_bytes));

  const std::optional<BestChoice> best = best_choice(report);
  std::vector<std::vector<std::string>> rows{
      {"", "QUANT", "SIZE", "BITS", "PLAN", "DECODE", "PREFILL", "FIRST TOKEN", ""}};
  for (size_t i = 0; i < report.choices.size(); ++i)
    rows.push_back(cells_of(report.choices[i], best && best->index == i));
  text += "\n" + aligned(rows) + "\n";
  if (best) text += row("*", best_text(report, *best));
  for (const PlannedChoice& one : report.choices)
    if (!one.plan) text += row("not", fmt::format("{}: {}", one.wanted, one.plan.error().message()));
  if (planned != report.choices.end())
    for (const std::string& doubt : planned->plan->doubts) text += row("doubt", doubt);
  if (!report.machine->source.empty() && report.machine->source != "measured")
    text += row("source", report.machine->source);
  return text;
}

std::string repository_json(const RepositoryReport& report) {
  const std::optional<BestChoice> best = best_choice(report);
  Json models = Json::array();
  for (const PlannedChoice& one : report.choices) {
    Json model = {{"name", one.remote.name},
                  {"file", one.remote.file},
                  {"size_bytes", one.remote.size_bytes},
                  {"download_bytes", one.remote.download_bytes},
                  {"bits_per_weight", one.bits_per_weight}};
    if (one.plan) {
      model["plan"] = one.plan->name;
      model["mode"] = mode_name(one.plan->mode);
      model["prediction"] = prediction_values(one.plan->prediction);
      model["doubts"] = one.plan->doubts;
    } else {
      model["error"] = one.plan.error().message();
    }
    models.push_back(std::move(model));
  }
  const Json json = {{"repository", report.repository},
                     {"machine", machine_values(*report.machine, report.types)},
                     {"context", report.n_ctx},
                     {"parallel", report.n_seq},
                     {"asked_tok_per_s", report.asked_tok_per_s},
                     {"best", best ? Json(report.choices[best->index].remote.name) : Json()},
                     {"best_holds", best && best->holds},
                     {"models", std::move(models)}};
  return write_json(json);
}

}  // namespace spillway
