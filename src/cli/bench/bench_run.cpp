// SPDX-License-Identifier: MIT
#include "cli/bench/bench_run.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

struct KindFacts {
  const char *name, *label;
  bool llama_bench, capped;
};

const KindFacts& facts_of(BenchKind kind) {
  static constexpr std::array<KindFacts, 7> kFacts = {{
      {"ours", "spillway", false, true},
      {"baseline", "libllama, mmap", false, true},
      {"resident", "resident, no cap", false, false},
      {"llama_bench", "llama-bench, mmap", true, true},
      {"llama_bench_default", "llama-bench, default", true, true},
      {"resident_free", "spillway, resident", false, false},
      {"llama_bench_free", "llama-bench, default", true, false},
  }};
  return kFacts.at(static_cast<size_t>(kind));
}

std::optional<double> number_in(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

Failure no_report(const char* program, std::string_view output) {
  return error(Code::kCorrupt, fmt::format("{} printed no report but '{:.80}'", program, output));
}

}  // namespace

const char* bench_kind_name(BenchKind kind) { return facts_of(kind).name; }
const char* bench_kind_label(BenchKind kind) { return facts_of(kind).label; }
bool is_llama_bench(BenchKind kind) { return facts_of(kind).llama_bench; }
bool is_capped(BenchKind kind) { return facts_of(kind).capped; }

bool is_under_test(BenchKind kind) { return kind == BenchKind::kOurs || kind == BenchKind::kResidentFree; }

bool has_comparable_logits(BenchKind kind) {
  return kind == BenchKind::kOurs || kind == BenchKind::kBaseline || kind == BenchKind::kResident;
}

const char* bench_outcome_name(BenchOutcome outcome) {
  switch (outcome) {
    case BenchOutcome::kOk:
      return "ok";
    case BenchOutcome::kOomKilled:
      return "oom_killed";
    case BenchOutcome::kFailed:
      return "failed";
  }
  return "?";
}

std::span<const NamedFigure> named_figures() {
  static constexpr std::array<NamedFigure, 10> kFigures = {{
      {"decode_tok_per_s", &BenchFigures::decode_tok_per_s},
      {"prefill_tok_per_s", &BenchFigures::prefill_tok_per_s},
      {"bytes_read_per_token", &BenchFigures::bytes_read_per_token},
      {"hit_rate", &BenchFigures::hit_rate},
      {"disk_bytes_per_s", &BenchFigures::disk_bytes_per_s},
      {"compute_s_per_token", &BenchFigures::compute_s_per_token},
      {"predicted_tok_per_s", &BenchFigures::predicted_tok_per_s},
      {"predicted_prefill_tok_per_s", &BenchFigures::predicted_prefill_tok_per_s},
      {"major_faults_per_token", &BenchFigures::major_faults_per_token},
      {"cpu_s_per_gb_streamed", &BenchFigures::cpu_s_per_gb_streamed},
  }};
  return kFigures;
}

Result<void> read_run_report(std::string_view output, const BenchTask& task, BenchRun& run) {
  const Json report = Json::parse(output, nullptr, false);
  if (!report.is_object()) return no_report("spillway run", output);
  for (const NamedFigure& named : named_figures()) run.figures.*named.figure = number_in(report, named.name);
  const auto decode_tokens = static_cast<uint32_t>(number_in(report, "decode_tokens").value_or(0));
  if (decode_tokens != task.n_decode)
    return error(Code::kCorrupt, fmt::format("it stopped after {} of {} tokens", decode_tokens, task.n_decode));
  run.mode = report.value("mode", "");
  // What the kernel reads for a mapping, the engine does not see.
  if (run.mode == "mmap") run.figures.bytes_read_per_token.reset();
  if (!task.prompt_counts) run.figures.prefill_tok_per_s.reset();
  const auto hash = report.find("logits_hash");
  if (hash != report.end() && hash->is_string()) run.logits_hash = hash->get<std::string>();
  run.budget_bytes = static_cast<uint64_t>(number_in(report, "budget_bytes").value_or(0));
  run.rss_bytes_max = static_cast<uint64_t>(number_in(report, "peak_rss_bytes").value_or(0));
  run.report = output;
  return {};
}

Result<void> read_llama_bench_report(std::string_view output, const BenchTask& task, BenchRun& run) {
  const Json report = Json::parse(output, nullptr, false);
  if (!report.is_array() || report.size() != 1 || !report[0].is_object()) return no_report("llama-bench", output);
  const std::optional<double> rate = number_in(report[0], "avg_ts");
  if (!rate || *rate <= 0) return no_report("llama-bench", output);
  (task.n_decode > 0 ? run.figures.decode_tok_per_s : run.figures.prefill_tok_per_s) = rate;
  run.report = report[0].dump();
  return {};
}

}  // namespace spillway
