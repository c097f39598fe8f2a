// SPDX-License-Identifier: MIT
#include "cli/bench/bench_table.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/json_writer.h"
#include "cli/report_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

std::string rate(const std::optional<double>& tok_per_s, const char* unit = "") {
  return figure_text(tok_per_s, unit, tok_per_s && *tok_per_s >= 100 ? 0 : 2);
}

std::string bytes_or_dash(uint64_t bytes) { return bytes > 0 ? format_bytes(bytes) : "-"; }

// ---- the table ----

constexpr const char* kColumns = "{:<22}{:>22}{:>12}{:>12}{:>8}{:>9}{:>13}{:>11}\n";

std::string label_of(const BenchKindSummary& kind) {
  const std::string label = bench_kind_label(kind.kind);
  return kind.kind == BenchKind::kOurs && !kind.mode.empty() ? fmt::format("{}, {}", label, kind.mode) : label;
}

std::string rate_text(const BenchKindSummary& kind) {
  if (kind.n_ok < 2 || !kind.median.decode_tok_per_s) return rate(kind.median.decode_tok_per_s);
  return fmt::format("{} ({}..{})", rate(kind.median.decode_tok_per_s), rate(kind.decode_tok_per_s_min),
                     rate(kind.decode_tok_per_s_max));
}

// What became of the runs that have no figures; empty when all have.
std::string failures_text(const BenchKindSummary& kind) {
  if (kind.n_ok == kind.n_runs) return "";
  const char* what = kind.n_oom_killed > 0 ? "OOM-killed" : "failed";
  const size_t n = kind.n_oom_killed > 0 ? kind.n_oom_killed : kind.n_runs - kind.n_ok;
  return fmt::format("{} ({} of {}): {}", what, n, kind.n_runs, kind.failure);
}

std::string kinds_text(const BenchReport& report) {
  std::string text =
      fmt::format(kColumns, "", "decode tok/s", "prefill", "read/token", "hits", "faults", "peak cgroup", "peak RSS");
  for (const BenchKindSummary& kind : report.kinds) {
    const std::string failures = failures_text(kind);
    if (kind.n_ok > 0)
      text += fmt::format(kColumns, label_of(kind), rate_text(kind), rate(kind.median.prefill_tok_per_s),
                          bytes_text(kind.median.bytes_read_per_token), percent_text(kind.median.hit_rate),
                          figure_text(kind.median.major_faults_per_token, "", 1),
                          kind.cgroup_bytes_max ? bytes_or_dash(*kind.cgroup_bytes_max) : "-",
                          bytes_or_dash(kind.rss_bytes_max));
    if (!failures.empty()) text += fmt::format("{:<22}  {}\n", label_of(kind), failures);
  }
  return text;
}

std::string setup_text(const BenchHeading& heading) {
  std::string cap = "no cap";
  if (heading.ram_bytes > 0)
    cap = fmt::format("{} {}", format_bytes(heading.ram_bytes),
                      heading.use_cgroups ? "each, page cache included" : "budget, but nobody is capped");
  return fmt::format("{}; {} threads, context {}, {} tokens measured after {}, {} repetition{}", cap, heading.n_threads,
                     heading.n_ctx, heading.n_decode, heading.n_warmup, heading.n_repeat,
                     heading.n_repeat == 1 ? "" : "s");
}

std::string model_text(const BenchHeading& heading) {
  const std::string experts =
      heading.n_expert > 0 ? fmt::format("{} experts, {} used", heading.n_expert, heading.n_expert_used) : "dense";
  return fmt::format("{}: {}, {} of weights, {} layers, {}",
                     std::filesystem::path(heading.model_path).filename().string(), heading.architecture,
                     format_bytes(heading.weight_bytes), heading.n_layer, experts);
}

std::string limit_text(const char* meaning, const std::optional<double>& limit, const std::optional<double>& fraction) {
  return fmt::format("{} ({}); reached {} of it", rate(limit, " tok/s"), meaning, figure_text(fraction, "", 3));
}

std::string exactness_text(const BenchReport& report) {
  if (report.n_hashes_compared < 2) return "nothing to compare with";
  if (!report.logits_equal) return "LOGITS DIFFER between runs: the figures above are worth nothing";
  return fmt::format("logits of all {} runs are equal, bit for bit (hash {})", report.n_hashes_compared,
                     report.logits_hash);
}

// ---- JSON ----

Json kind_json(const BenchKindSummary& kind) {
  Json json = {{"runs", kind.n_runs},
               {"ok", kind.n_ok},
               {"oom_killed", kind.n_oom_killed},
               {"failure", text_or_null(kind.failure)},
               {"mode", text_or_null(kind.mode)}};
  for (const NamedFigure& named : named_figures()) json[named.name] = nullable(kind.median.*named.figure);
  json["decode_tok_per_s_min"] = nullable(kind.decode_tok_per_s_min);
  json["decode_tok_per_s_max"] = nullable(kind.decode_tok_per_s_max);
  json["cgroup_bytes_max"] = nullable(kind.cgroup_bytes_max);
  json["peak_rss_bytes"] = kind.rss_bytes_max;
  json["budget_bytes"] = kind.budget_bytes > 0 ? Json(kind.budget_bytes) : Json(nullptr);
  return json;
}

Json run_json(const BenchRun& run) {
  return {{"kind", bench_kind_name(run.kind)},
          {"repetition", run.repetition},
          {"outcome", bench_outcome_name(run.outcome)},
          {"failure", text_or_null(run.failure)},
          {"wall_s", run.wall_s},
          {"cgroup_bytes_max", nullable(run.cgroup_bytes_max)},
          {"peak_rss_bytes", run.rss_bytes_max},
          {"report", run.report.empty() ? Json(nullptr) : Json::parse(run.report, nullptr, false)}};
}

Json heading_json(const BenchHeading& heading) {
  return {{"model", heading.model_path},
          {"architecture", heading.architecture},
          {"weight_bytes", heading.weight_bytes},
          {"layers", heading.n_layer},
          {"experts", heading.n_expert},
          {"experts_used", heading.n_expert_used},
          {"ram_bytes", heading.ram_bytes > 0 ? Json(heading.ram_bytes) : Json(nullptr)},
          {"capped", heading.use_cgroups},
          {"threads", heading.n_threads},
          {"context", heading.n_ctx},
          {"prompt_tokens", heading.n_prompt},
          {"tokens", heading.n_decode},
          {"warmup", heading.n_warmup},
          {"repeat", heading.n_repeat},
          {"seed", heading.seed},
          {"notes", heading.notes}};
}

Json limits_json(const BenchLimits& limits) {
  return {{"compute_s_per_token", nullable(limits.compute_s_per_token)},
          {"compute_is_resident", limits.compute_is_resident},
          {"bytes_read_per_token", nullable(limits.bytes_per_token)},
          {"disk_bytes_per_s", nullable(limits.disk_bytes_per_s)},
          {"serial_limit_tok_per_s", nullable(limits.serial_tok_per_s)},
          {"serial_fraction", nullable(limits.serial_fraction)},
          {"overlap_limit_tok_per_s", nullable(limits.overlap_tok_per_s)},
          {"overlap_fraction", nullable(limits.overlap_fraction)},
          {"overlap_fraction_in_turn", nullable(limits.overlap_fraction_in_turn)},
          {"read_limit_tok_per_s", nullable(limits.read_tok_per_s)},
          {"read_fraction", nullable(limits.read_fraction)},
          {"read_fraction_in_turn", nullable(limits.read_fraction_in_turn)}};
}

}  // namespace

std::string bench_report_table(const BenchHeading& heading, const BenchReport& report) {
  std::string table;
  const auto row = [&](const char* name, const std::string& value) {
    table += fmt::format("{:<10} {}\n", name, value);
  };
  row("model", model_text(heading));
  row("setup", setup_text(heading));
  table += "\n" + kinds_text(report) + "\n";

  if (const BenchKindSummary* ours = report.find(BenchKind::kOurs); ours != nullptr && ours->n_ok > 0) {
    const BenchLimits& limits = report.limits;
    row("compute", fmt::format("{} per token, {}", figure_text(limits.compute_s_per_token, " s", 4),
                               limits.compute_is_resident ? "all weights resident" : "our own less the waiting"));
    if (limits.disk_bytes_per_s) row("disk", bytes_text(limits.disk_bytes_per_s, "/s") + ", the best of all runs");
    row("serial", limit_text("computing and reading in turn", limits.serial_tok_per_s, limits.serial_fraction));
    row("overlap", limit_text("both at once", limits.overlap_tok_per_s, limits.overlap_fraction));
    if (heading.n_expert == 0 && limits.read_tok_per_s)
      row("reading", limit_text("bandwidth / (weights - resident)", limits.read_tok_per_s, limits.read_fraction));
    if (ours->n_ok > 1 && limits.overlap_fraction_in_turn)
      row("in turn", fmt::format("{} of the overlap limit, {} of the disk's, by what each repetition found itself",
                                 figure_text(limits.overlap_fraction_in_turn, "", 3),
                                 figure_text(limits.read_fraction_in_turn, "", 3)));
    row("predicted", fmt::format("{}; achieved {} of it", rate(ours->median.predicted_tok_per_s, " tok/s"),
                                 figure_text(report.achieved_of_predicted)));
    if (ours->median.cpu_s_per_gb_streamed)
      row("overhead", figure_text(ours->median.cpu_s_per_gb_streamed, " CPU s per GB streamed", 3));
    row("memory", fmt::format("peak RSS {} of a budget of {}", format_bytes(ours->rss_bytes_max),
                              format_bytes(heading.ram_bytes)));
  }
  if (report.find(BenchKind::kBaseline) != nullptr)
    row("ratio", report.times_baseline ? figure_text(report.times_baseline, " times libllama over mmap")
                                       : "none: one of the two has no figures");
  if (report.times_llama_bench) row("", figure_text(report.times_llama_bench, " times llama-bench over mmap"));
  if (report.find(BenchKind::kResidentFree) != nullptr)
    row("ratio", fmt::format("decode {}, prefill {} of llama-bench", figure_text(report.free_decode_ratio, "", 3),
                             figure_text(report.free_prefill_ratio, "", 3)));
  else
    row("exact", exactness_text(report));
  for (const std::string& note : heading.notes) row("note", note);
  return table;
}

std::string bench_report_json(const BenchHeading& heading, const BenchReport& report,
                              const std::vector<BenchRun>& runs) {
  Json json = heading_json(heading);
  json["summary"] = Json::object();
  for (const BenchKindSummary& kind : report.kinds) json["summary"][bench_kind_name(kind.kind)] = kind_json(kind);
  json["limits"] = limits_json(report.limits);
  json["achieved_of_predicted"] = nullable(report.achieved_of_predicted);
  json["times_baseline"] = nullable(report.times_baseline);
  json["times_llama_bench"] = nullable(report.times_llama_bench);
  json["resident_decode_of_llama_bench"] = nullable(report.free_decode_ratio);
  json["resident_prefill_of_llama_bench"] = nullable(report.free_prefill_ratio);
  json["logits_compared"] = report.n_hashes_compared;
  json["logits_equal"] = report.logits_equal;
  json["logits_hash"] = text_or_null(report.logits_hash);
  json["runs"] = Json::array();
  for (const BenchRun& run : runs) json["runs"].push_back(run_json(run));
  return write_json(json);
}

std::string logits_by_run(const std::vector<BenchRun>& runs) {
  std::string text;
  for (const BenchRun& run : runs)
    if (has_comparable_logits(run.kind) && !run.logits_hash.empty())
      text += fmt::format("{}{} {}: {}", text.empty() ? "" : ", ", bench_kind_name(run.kind), run.repetition,
                          run.logits_hash);
  return text;
}

}  // namespace spillway
