// SPDX-License-Identifier: MIT
#include "cli/run/run_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/json_writer.h"
#include "cli/report_text.h"
#include "cli/run/prediction_miss.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

std::string hex(uint64_t hash) { return fmt::format("{:016x}", hash); }

// How far the need was from what metadata foretold, as a share of all the memory that the model takes.
std::optional<double> need_error(const MemoryReport& memory) {
  if (memory.other_bytes_planned == 0 || memory.other_bytes == 0) return std::nullopt;
  const auto planned = static_cast<double>(memory.other_bytes_planned), real = static_cast<double>(memory.other_bytes);
  return (real - planned) / (real + static_cast<double>(memory.weight_bytes));
}

std::string weights_text(const MemoryReport& memory) {
  const std::string devices =
      memory.device_bytes > 0 ? fmt::format("{} on devices, ", format_bytes(memory.device_bytes)) : "";
  return devices + fmt::format("{} pinned, {} pool ({} of it the ring's), {} rows left in the file; {} other memory",
                               format_bytes(memory.pinned_bytes), format_bytes(memory.pool_bytes),
                               format_bytes(memory.ring_pool_bytes), format_bytes(memory.rows_bytes),
                               format_bytes(memory.other_bytes));
}

// What others did to this run's memory.
std::string pressure_text(Mode mode, const RunStats& stats) {
  const char* times = stats.shrinks == 1 ? "time" : "times";
  if (mode != Mode::kStream)
    return fmt::format(
        "memory ran short {} {}; a model that is in memory as a whole cannot give any back (--mode stream "
        "can)",
        stats.shrinks, times);
  const std::string unpinned = stats.memory.unpinned_bytes == 0
                                   ? ""
                                   : fmt::format(", and {} of the pinned were left to the page cache",
                                                 format_bytes(stats.memory.unpinned_bytes));
  return fmt::format("the pool shrank {} {} and grew {}; at the end it was {}{}", stats.shrinks, times, stats.growths,
                     format_bytes(stats.memory.pool_now_bytes), unpinned);
}

}  // namespace

std::string run_report_json(const Placement& placement, const Generation& generation, const RunStats& stats) {
  const MemoryReport& memory = stats.memory;
  const Json report = {
      {"mode", mode_name(placement.mode)},
      {"why", placement.why},
      {"kernels", kernels_name(placement.kernels)},
      {"text", generation.text},
      {"thinking", generation.thinking},
      {"tokens", generation.tokens},
      {"stop_reason", stop_reason_name(generation.stop_reason)},
      {"prompt_tokens", stats.prompt_tokens},
      {"decode_tokens", stats.decode_tokens},
      {"prefill_tok_per_s", nullable(stats.prefill_tok_per_s)},
      {"decode_tok_per_s", nullable(stats.decode_tok_per_s)},
      {"time_to_first_token_s", nullable(stats.time_to_first_token_s)},
      {"bytes_read_per_token", nullable(stats.bytes_read_per_token)},
      {"hit_rate", nullable(stats.hit_rate)},
      {"disk_wait_fraction", nullable(stats.disk_wait_fraction)},
      {"disk_bytes_per_s", nullable(stats.disk_bytes_per_s)},
      {"disk_busy_fraction", nullable(stats.disk_busy_fraction)},
      {"busy_disk_bytes_per_s", nullable(stats.busy_disk_bytes_per_s)},
      {"compute_s_per_token", nullable(stats.compute_s)},
      {"serial_limit_tok_per_s", nullable(stats.serial_limit_tok_per_s)},
      {"overlap_limit_tok_per_s", nullable(stats.overlap_limit_tok_per_s)},
      {"predicted_tok_per_s", nullable(stats.predicted_tok_per_s)},
      {"off", nullable(prediction_miss(placement, stats))},
      {"predicted_prefill_tok_per_s", nullable(stats.predicted_prefill_tok_per_s)},
      {"roofline_fraction", nullable(stats.roofline_fraction)},
      {"major_faults_per_token", nullable(stats.major_faults_per_token)},
      {"peak_rss_bytes", stats.peak_rss_bytes},
      {"budget_bytes", memory.budget_bytes},
      {"pinned_bytes", memory.pinned_bytes},
      {"pool_bytes", memory.pool_bytes},
      {"ring_pool_bytes", memory.ring_pool_bytes},
      {"rows_bytes", memory.rows_bytes},
      {"other_bytes", memory.other_bytes},
      {"other_bytes_planned", memory.other_bytes_planned},
      {"need_error", nullable(need_error(memory))},
      {"device_bytes", memory.device_bytes},
      {"pool_now_bytes", memory.pool_now_bytes},
      {"unpinned_bytes", memory.unpinned_bytes},
      {"shrinks", stats.shrinks},
      {"growths", stats.growths},
      {"cpu_s_per_gb_streamed", nullable(stats.cpu_s_per_gb_streamed)},
      {"place_cpu_s", nullable(stats.place_cpu_s)},
      {"logits_hash", generation.logits_hash ? Json(hex(*generation.logits_hash)) : Json(nullptr)},
      {"ungated", stats.ungated},
  };
  return write_json(report);
}

std::string run_report_table(const Placement& placement, const Generation& generation, const RunStats& stats) {
  std::string table;
  const auto row = [&](const char* name, const std::string& value) {
    table += fmt::format("{:<10} {}\n", name, value);
  };
  row("mode",
      fmt::format("{}: {}; {} kernels", mode_name(placement.mode), placement.why, kernels_name(placement.kernels)));
  const auto predicted_prefill =
      stats.predicted_prefill_tok_per_s
          ? fmt::format(" (predicted {})", figure_text(stats.predicted_prefill_tok_per_s, ""))
          : std::string();
  row("prompt", fmt::format("{} tokens, {}{}; first token after {}", stats.prompt_tokens,
                            figure_text(stats.prefill_tok_per_s, " tok/s"), predicted_prefill,
                            figure_text(stats.time_to_first_token_s, " s")));
  row("answer", fmt::format("{} tokens, {} (predicted {}); ended by {}", generation.tokens.size(),
                            figure_text(stats.decode_tok_per_s, " tok/s"), figure_text(stats.predicted_tok_per_s, ""),
                            stop_reason_name(generation.stop_reason)));
  if (const auto miss = prediction_miss(placement, stats)) row("off", *miss);
  row("limits", fmt::format("{} without overlap, {} with it; {} of the roofline",
                            figure_text(stats.serial_limit_tok_per_s, " tok/s"),
                            figure_text(stats.overlap_limit_tok_per_s, ""), figure_text(stats.roofline_fraction, "")));
  row("disk",
      fmt::format("{} read per token at {}; {} of the time spent waiting", bytes_text(stats.bytes_read_per_token, ""),
                  bytes_text(stats.disk_bytes_per_s, "/s"), percent_text(stats.disk_wait_fraction)));
  if (stats.busy_disk_bytes_per_s)
    row("", fmt::format("busy {} of the time, at {}", percent_text(stats.disk_busy_fraction),
                        bytes_text(stats.busy_disk_bytes_per_s, "/s")));
  if (stats.hit_rate) row("experts", fmt::format("{} found in memory", percent_text(stats.hit_rate)));
  row("faults", fmt::format("{} major faults per token, {} operations past the gate",
                            figure_text(stats.major_faults_per_token, ""), stats.ungated));
  row("memory", fmt::format("{} at most, of a budget of {}", format_bytes(stats.peak_rss_bytes),
                            format_bytes(stats.memory.budget_bytes)));
  row("weights", weights_text(stats.memory));
  if (const auto off = need_error(stats.memory))
    row("need", fmt::format("{} beside the weights, {} planned: off by {:+.1f} % of all",
                            format_bytes(stats.memory.other_bytes), format_bytes(stats.memory.other_bytes_planned),
                            *off * 100));
  if (stats.shrinks + stats.growths > 0) row("pressure", pressure_text(placement.mode, stats));
  if (stats.cpu_s_per_gb_streamed)
    row("overhead", figure_text(stats.cpu_s_per_gb_streamed, " CPU s per GB streamed", 3));
  if (stats.place_cpu_s)
    row("placing", fmt::format("{:.2f} CPU s to {}", *stats.place_cpu_s,
                               placement.kernels == Kernels::kRepacked ? "repack what was read"
                                                                       : "copy what was read to its place"));
  if (generation.logits_hash) row("logits", "hash " + hex(*generation.logits_hash));
  return table;
}

}  // namespace spillway
