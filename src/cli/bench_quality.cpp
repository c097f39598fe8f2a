// SPDX-License-Identifier: MIT
#include "cli/bench_quality.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "base/bytes.h"
#include "cli/bench_tokens.h"
#include "cli/progress_bar.h"

namespace spillway {
namespace {

constexpr uint64_t kProgramGuessBytes = 256 * MiB;  // beside the weights, of a budget that is a share of them

}  // namespace

Result<std::vector<QualityPoint>> measure_plan_quality(const QualityTask& task, const GgufModel& model,
                                                       BenchSetup setup) {
  std::vector<QualityPoint> points;
  const uint32_t n_warmup = setup.n_warmup;
  ProgressBar progress("measuring");
  const size_t n_points = task.budgets_percent.size();
  for (const uint32_t percent : task.budgets_percent) {
    setup.ram_bytes = round_up(model.weight_bytes() / 100 * percent, MiB) + kProgramGuessBytes;
    const bool fits = percent >= 100;
    setup.n_warmup = n_warmup + (fits ? kWarmupOfWhatFits : 0);
    std::string chosen;
    std::vector<QualityRuns> ways = {{"auto", {}}, {"stream", {}}, {"resident", {}}, {"mmap", {}}};
    for (uint32_t repetition = 1; repetition <= task.n_repeat; ++repetition) {
      setup.ids = bench_token_ids(bench_ids_needed(task.run, setup.n_warmup), task.n_vocab, task.seed + repetition - 1);
      for (const size_t next : ways_in_turn(ways, fits, chosen, repetition)) {
        QualityRuns& way = ways[next];
        if (way.mode == chosen) continue;  // the first repetition's order was made before auto had chosen
        setup.mode = way.mode == "mmap" ? "auto" : way.mode;
        BenchTask run_task = task.run;
        if (way.mode == "mmap") run_task.kind = BenchKind::kBaseline;
        BenchRunner runner(model, setup);
        const auto on_tick = [&] {
          progress.show(static_cast<double>(points.size()) / static_cast<double>(n_points),
                        fmt::format("{}: {}, repetition {}", format_bytes(setup.ram_bytes), way.mode, repetition));
        };
        on_tick();
        ASSIGN_OR_RETURN(BenchRun run, runner.run(run_task, repetition, on_tick));
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
