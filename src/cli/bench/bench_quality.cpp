// SPDX-License-Identifier: MIT
#include "cli/bench/bench_quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "cli/bench/bench_tokens.h"
#include "cli/progress_bar.h"
#include "os/file.h"

namespace spillway {
namespace {

constexpr uint64_t kProgramGuessBytes = 256 * MiB;  // beside the weights, of a budget that is a share of them

}  // namespace

uint32_t tokens_to_measure(double tok_per_s, uint32_t n_prompt, PointTokens asked, uint32_t n_ctx) {
  const double wanted = std::ceil(std::min<double>(tok_per_s * kPointSeconds, n_ctx));
  const uint32_t others = n_prompt + asked.n_warmup + 1;  // the last token measured has a next one
  return std::max(asked.n_decode, std::min(static_cast<uint32_t>(wanted), saturating_sub(n_ctx, others)));
}

Result<std::vector<QualityPoint>> measure_plan_quality(const QualityTask& task, const GgufModel& model,
                                                       BenchSetup setup) {
  std::vector<QualityPoint> points;
  const uint32_t n_warmup = setup.n_warmup;
  ProgressBar progress("measuring");
  const size_t n_points = task.budgets_percent.size();
  for (const uint32_t percent : task.budgets_percent) {
    setup.ram_bytes = round_up(model.weight_bytes() / 100 * percent, MiB) + kProgramGuessBytes;
    const bool fits = percent >= 100;
    const PointTokens tokens = point_tokens(percent, {n_warmup, task.run.n_decode});
    setup.n_warmup = tokens.n_warmup;
    BenchTask point_task = task.run;
    point_task.n_decode = tokens.n_decode;
    // Then nobody reads anything, and all compute from the same cached pages, which the first run leaves them: fresh
    // ones are slower by 5 to 20 %, more or less by chance, and would decide more than the ways do.
    setup.start_cold = !fits;
    const auto run_once = [&](const std::string& mode, uint32_t repetition) -> Result<BenchRun> {
      const auto on_tick = [&] {
        progress.show(static_cast<double>(points.size()) / static_cast<double>(n_points),
                      fmt::format("{}: {}, repetition {}", format_bytes(setup.ram_bytes), mode, repetition));
      };
      on_tick();
      setup.mode = mode == "mmap" ? "auto" : mode;
      setup.ids =
          bench_token_ids(bench_ids_needed(point_task, setup.n_warmup), task.n_vocab, task.seed + repetition - 1);
      BenchTask run_task = point_task;
      if (mode == "mmap") run_task.kind = BenchKind::kBaseline;
      return BenchRunner(model, setup).run(run_task, repetition, on_tick);
    };
    if (fits)
      for (const auto& file : model.files) drop_from_page_cache(*file);
    ASSIGN_OR_RETURN(const BenchRun first, run_once("auto", 1));
    point_task.n_decode =
        tokens_to_measure(first.figures.decode_tok_per_s.value_or(0), task.run.n_prompt, tokens, setup.n_ctx);
    std::string chosen;
    std::vector<QualityRuns> ways = {{"auto", {}}, {"stream", {}}, {"resident", {}}, {"mmap", {}}};
    for (uint32_t repetition = 1; repetition <= task.n_repeat; ++repetition) {
      for (const size_t next : ways_in_turn(ways, fits, chosen, repetition)) {
        QualityRuns& way = ways[next];
        // The first repetition's order was made before auto had chosen.
        if (way.mode == chosen || has_clearly_lost(way, ways.front())) continue;
        ASSIGN_OR_RETURN(BenchRun run, run_once(way.mode, repetition));
        if (way.mode == "auto" && run.outcome == BenchOutcome::kOk) chosen = run.mode;
        way.runs.push_back(std::move(run));
      }
    }
    points.push_back(judge_point(setup.ram_bytes, ways));
  }
  progress.clear();
  return points;
}

}  // namespace spillway
