// SPDX-License-Identifier: MIT
#include "cli/run/run_output.h"

#include <fmt/format.h>

#include "base/notice.h"
#include "cli/interrupt.h"
#include "cli/run/prediction_miss.h"
#include "cli/run/run_report.h"
#include "cli/stderr_text.h"
#include "os/machine.h"

namespace spillway {
namespace {

RunStats stats_of(const Engine& engine, const Generation& generation, double disk_bytes_per_s_at_load,
                  uint64_t peak_rss_bytes) {
  const Placement& placement = engine.placement();
  return compute_run_stats(generation.measured, {.disk_bytes_per_s_at_load = disk_bytes_per_s_at_load,
                                                 .disk_bytes_per_s_at_end = engine.disk().disk_bytes_per_s,
                                                 .predicted_tok_per_s = placement.predicted_tok_per_s,
                                                 .predicted_prefill_tok_per_s = placement.predicted_prefill_tok_per_s,
                                                 .prefill_pass_tokens = placement.prefill_pass_tokens,
                                                 .memory = engine.memory(),
                                                 .peak_rss_bytes = peak_rss_bytes});
}

}  // namespace

AnswerOutput::AnswerOutput(const RunOptions& options, std::unique_ptr<OutputParser> parser)
    : options_(options), parser_(std::move(parser)), progress_("reading the prompt") {}

bool AnswerOutput::show(std::string_view content, std::string_view thinking) {
  progress_.clear();
  content_ += content;
  thinking_ += thinking;
  if (options_.json) return true;
  if (!options_.hide_thinking) thoughts_.print(thinking);
  if (!content.empty()) thoughts_.finish();
  return printer_.print(content);
}

void AnswerOutput::show_prompt_progress(size_t done, size_t total) {
  if (done == total) return progress_.clear();
  progress_.show(static_cast<double>(done) / static_cast<double>(total), fmt::format("{} of {} tokens", done, total));
}

GenerationHooks AnswerOutput::hooks() {
  return {.on_text =
              [this](std::string_view bytes) {
                if (parser_ == nullptr) return show(bytes, {});
                const OutputDelta delta = parser_->push(bytes);
                return show(delta.content, delta.thinking);
              },
          .on_prefill = [this](size_t done, size_t total) { show_prompt_progress(done, total); },
          .is_interrupted = interrupted};
}

Result<bool> AnswerOutput::finish(Engine& engine, Generation& generation) {
  progress_.clear();
  if (parser_ != nullptr) {
    const OutputDelta rest = parser_->finish(generation.stop_reason != StopReason::kEnd);
    show(rest.content, rest.thinking);
    generation.text = content_;
    generation.thinking = thinking_;
  }
  thoughts_.finish();
  if (!options_.json) printer_.finish();
  ASSIGN_OR_RETURN(const bool written, printer_.outcome());
  if (!written) return written;
  if (!(options_.json || options_.stats)) {
    const RunStats stats = stats_of(engine, generation, engine.disk().disk_bytes_per_s, 0);
    if (const auto miss = prediction_miss(engine.placement(), stats)) notice(*miss);
    return written;
  }
  const uint64_t peak_rss_bytes = process_usage().rss_bytes_max;  // measuring the disk takes memory of its own
  const double disk_bytes_per_s_at_load = engine.disk().disk_bytes_per_s;
  const bool streamed = generation.measured.at_end.bytes_read > 0;
  if (options_.stats && streamed) (void)engine.measure_disk();  // when it fails, the load's figure stands alone
  const RunStats stats = stats_of(engine, generation, disk_bytes_per_s_at_load, peak_rss_bytes);
  if (options_.json) return print_line_to_stdout(run_report_json(engine.placement(), generation, stats));
  if (!print_to_stderr("\n" + run_report_table(engine.placement(), generation, stats)))
    return error(Code::kIo, "standard error takes nothing: the report of --stats is lost");
  return true;
}

void print_run_table(const Engine& engine, const Generation& generation) {
  const RunStats stats = stats_of(engine, generation, engine.disk().disk_bytes_per_s, process_usage().rss_bytes_max);
  print_to_stderr(run_report_table(engine.placement(), generation, stats));
}

}  // namespace spillway
