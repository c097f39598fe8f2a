// SPDX-License-Identifier: MIT
// spillway bench MODEL: how fast a model runs in a given memory, against the kernel's mmap in the same memory and
// against what disk and processor allow.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <memory>

#include "base/bytes.h"
#include "cli/adapter_options.h"
#include "cli/answer_printer.h"
#include "cli/bench/bench_quality.h"
#include "cli/bench/bench_runner.h"
#include "cli/bench/bench_table.h"
#include "cli/bench/bench_tokens.h"
#include "cli/cache_options.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_argument.h"
#include "cli/progress_bar.h"
#include "cli/run/run_options.h"
#include "os/folder.h"
#include "os/machine.h"
#include "os/settle_memory.h"

namespace spillway {
namespace {

constexpr const char* kBenchExamples = R"(Examples:
  spillway bench big.gguf --ram 2G --baseline            against libllama over mmap, both capped at 2 GiB
  spillway bench big.gguf --ram 2G --baseline --llama-bench --repeat 5 --json
  spillway bench small.gguf --resident-check --tokens 64 resident mode, against llama-bench as it comes
  spillway bench big.gguf --plan-quality                 is what plans predict true, and the chosen mode the fastest?
  spillway bench big.gguf --ram 2G --baseline --no-cap    without root: nobody is capped

Every run is a process of its own in a memory cgroup of its own that counts the page cache, on the same token ids. Exit
code 1: a run of ours failed, the logits of two runs differ, or a limit was passed (a wrong account).)";

constexpr uint32_t kCheckPromptTokens = 512;        // llama-bench's own default
constexpr uint64_t kVocabMax = 32000;               // ids beyond add nothing
constexpr uint64_t kBuffersGuessBytes = 512 * MiB;  // of a resident run, beside the weights

// Memory the kernel hands out after the settling is not always what was settled, so more than is needed.
constexpr uint64_t kSettleMultiple = 2;
constexpr double kNewMemory_s_per_byte = 1e-9;  // above this it was new to a virtual machine (0.2e-9 is usual)

constexpr double kLoadMax = 0.5;  // of others, for timings that mean something

struct BenchOptions {
  std::string model_path, mode = "auto";
  uint64_t ram_bytes = 0, seed = 1;
  uint32_t n_repeat = 3, n_decode = 12, n_warmup = 4, n_ctx = 512;
  uint32_t n_threads = 0, n_prompt = 4;
  bool baseline = false, llama_bench = false, no_resident = false, resident_check = false, no_cap = false, json = false;
  bool plan_quality = false;
  CacheFormat cache;
  std::vector<LoraAdapter> adapters;
  std::vector<uint32_t> budgets_percent = {30, 45, 60, 80, 115};  // of the weights; for plan_quality
};

Result<uint32_t> vocabulary(const GgufModel& model) {
  for (const TensorInfo& tensor : model.tensors)
    if (tensor.name == "token_embd.weight") return static_cast<uint32_t>(std::min(tensor.shape[1], kVocabMax));
  return error(Code::kUnsupported, fmt::format("{}: no token embedding: this is no text model", model.paths().front()));
}

// What is to be run in each repetition, in turn.
std::vector<BenchTask> plan_tasks(const BenchOptions& options, const GgufModel& model, BenchHeading& heading) {
  if (options.resident_check) {
    heading.notes.emplace_back("a prompt is the first that either process computes, so nobody is warmed up for it");
    return {{.kind = BenchKind::kResidentFree, .n_prompt = 1, .n_decode = options.n_decode, .prompt_counts = false},
            {.kind = BenchKind::kLlamaBenchFree, .n_prompt = 0, .n_decode = options.n_decode},
            {.kind = BenchKind::kResidentFree, .n_prompt = kCheckPromptTokens, .n_decode = 0},
            {.kind = BenchKind::kLlamaBenchFree, .n_prompt = kCheckPromptTokens, .n_decode = 0}};
  }
  std::vector<BenchTask> tasks;
  const auto add = [&](BenchKind kind, uint32_t n_prompt) {
    tasks.push_back({.kind = kind, .n_prompt = n_prompt, .n_decode = options.n_decode});
  };
  add(BenchKind::kOurs, options.n_prompt);
  if (options.baseline) add(BenchKind::kBaseline, options.n_prompt);
  const uint64_t needed_bytes = model.weight_bytes() + kBuffersGuessBytes;
  const uint64_t available_bytes = memory_state().available_bytes;
  if (options.no_resident)
    heading.notes.emplace_back("no resident run: the compute time is our own");
  else if (needed_bytes > available_bytes)
    heading.notes.push_back(
        fmt::format("no resident run, so the compute time is our own: it would need about {} and {} are free",
                    format_bytes(needed_bytes), format_bytes(available_bytes)));
  else
    add(BenchKind::kResident, options.n_prompt);
  if (options.llama_bench) {
    heading.notes.emplace_back("llama-bench draws its tokens itself, uniformly: for MoE models a harder load");
    add(BenchKind::kLlamaBench, 0);
    add(BenchKind::kLlamaBenchDefault, 0);
  }
  return tasks;
}

// Threads that wait for each other by spinning lose tens of times their speed to one competitor.
void note_load(BenchHeading& heading) {
  double load = 0;
  if (::getloadavg(&load, 1) != 1 || load <= kLoadMax) return;
  heading.notes.push_back(
      fmt::format("the machine was busy before the first run (load {:.1f}): do not rely on these timings", load));
}

// So that the first run does not pay for memory that this machine was never given.
Result<void> settle(uint64_t needed_bytes, std::vector<std::string>* notes) {
  ProgressBar progress("touching memory");
  const auto took = settle_memory(kSettleMultiple * needed_bytes, usable_cpus(), [&progress](double share) {
    progress.show(share);
    return !interrupted();
  });
  if (!took) return Failure(took.error());
  if (notes != nullptr && *took > kNewMemory_s_per_byte)
    notes->push_back(
        fmt::format("memory was new to this virtual machine: {:.1f} s per GB before the first run", *took * 1e9));
  return {};
}

BenchHeading heading_of(const BenchOptions& options, const GgufModel& model, const BenchSetup& setup) {
  return {.model_path = setup.model_path,
          .architecture = model.architecture,
          .weight_bytes = model.weight_bytes(),
          .n_layer = model.n_layer,
          .n_expert = model.n_expert,
          .n_expert_used = model.n_expert_used,
          .ram_bytes = options.resident_check ? 0 : options.ram_bytes,
          .use_cgroups = setup.use_cgroups,
          .n_threads = setup.n_threads,
          .n_ctx = options.n_ctx,
          .n_prompt = options.resident_check ? kCheckPromptTokens : options.n_prompt,
          .n_decode = options.n_decode,
          .n_warmup = options.n_warmup,
          .n_repeat = options.n_repeat,
          .seed = options.seed,
          .notes = {}};
}

Result<std::vector<BenchRun>> run_all(BenchRunner& runner, const std::vector<BenchTask>& tasks, uint32_t n_repeat) {
  std::vector<BenchRun> runs;
  ProgressBar progress("measuring");
  const size_t n_runs = tasks.size() * n_repeat;
  for (uint32_t repetition = 1; repetition <= n_repeat; ++repetition) {
    for (const BenchTask& task : tasks) {
      const Stopwatch watch;
      const auto on_tick = [&] {
        progress.show(static_cast<double>(runs.size()) / static_cast<double>(n_runs),
                      fmt::format("run {} of {}: {}, {:.0f} s", runs.size() + 1, n_runs, bench_kind_label(task.kind),
                                  watch.elapsed_s()));
      };
      on_tick();
      ASSIGN_OR_RETURN(BenchRun run, runner.run(task, repetition, on_tick));
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

// By a closed terminal, too, unless that is ignored, as `nohup` has it.
void end_as_by_interrupt() {
  install_interrupt_handler();
  for (const int number : {SIGTERM, SIGHUP})
    if (std::signal(number, [](int) { std::raise(SIGINT); }) == SIG_IGN) std::signal(number, SIG_IGN);
}

Result<int> run_plan_quality(const BenchOptions& options, const GgufModel& model, BenchSetup setup, uint32_t n_vocab) {
  const QualityTask task{.run = {.kind = BenchKind::kOurs, .n_prompt = options.n_prompt, .n_decode = options.n_decode},
                         .budgets_percent = options.budgets_percent,
                         .n_repeat = options.n_repeat,
                         .n_vocab = n_vocab,
                         .seed = options.seed};
  ASSIGN_OR_RETURN(const std::vector<QualityPoint> points, measure_plan_quality(task, model, setup));
  ASSIGN_OR_RETURN(const bool written,
                   print_line_to_stdout(options.json ? plan_quality_json(setup.model_path, points)
                                                     : plan_quality_table(setup.model_path, points)));
  for (const QualityPoint& point : points) {
    if (!point.logits_equal)
      return error(Code::kInternal, "THE LOGITS DIFFER within one budget; please report this, with 'spillway verify'");
    if (point.chosen.empty())
      return error(Code::kInternal, fmt::format("the run within {} failed", format_bytes(point.ram_bytes)));
  }
  return written ? kExitOk : kExitPipeClosed;
}

Result<int> run_bench(const BenchOptions& options) {
  // 1. The model's facts, and what is to be measured.
  ASSIGN_OR_RETURN(const NamedModel named, resolve_named_model(options.model_path));
  const std::string& model_path = named.path;
  std::vector<LoraAdapter> adapters = options.adapters;
  take_own_adapters(named, adapters);
  ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(model_path));
  ASSIGN_OR_RETURN(const uint32_t n_vocab, vocabulary(model));
  RETURN_IF_ERROR(check_cache_format(model, options.cache));
  BenchSetup setup{.model_path = absolute_path(model_path),
                   .ram_bytes = options.ram_bytes,
                   .use_cgroups = !options.no_cap && !options.resident_check,
                   .mode = options.mode,
                   .n_warmup = options.n_warmup,
                   .n_ctx = options.n_ctx,
                   .cache = options.cache,
                   .adapters = adapters,
                   .n_threads = options.n_threads > 0 ? options.n_threads : usable_cpus(),
                   .ids = {},
                   .start_cold = !options.resident_check,
                   .llama_bench = {}};
  if (options.plan_quality) {
    end_as_by_interrupt();
    setup.ram_bytes = model.weight_bytes();
    if (setup.use_cgroups) RETURN_IF_ERROR(BenchRunner(model, setup).check_cgroups());
    RETURN_IF_ERROR(settle(model.weight_bytes() + kBuffersGuessBytes, nullptr));
    return run_plan_quality(options, model, std::move(setup), n_vocab);
  }
  BenchHeading heading = heading_of(options, model, setup);
  const std::vector<BenchTask> tasks = plan_tasks(options, model, heading);
  note_load(heading);
  size_t n_ids = 0;
  for (const BenchTask& task : tasks) n_ids = std::max(n_ids, bench_ids_needed(task, options.n_warmup));
  setup.ids = bench_token_ids(n_ids, n_vocab, options.seed);
  if (options.llama_bench || options.resident_check) {
    ASSIGN_OR_RETURN(setup.llama_bench, find_llama_bench());
  }
  BenchRunner runner(model, setup);

  // 2. The runs. Whatever stops us, the child and its cgroup go first.
  end_as_by_interrupt();
  if (setup.use_cgroups) RETURN_IF_ERROR(runner.check_cgroups());
  const bool resident = options.resident_check || std::any_of(tasks.begin(), tasks.end(), [](const BenchTask& t) {
                          return t.kind == BenchKind::kResident;
                        });
  RETURN_IF_ERROR(
      settle(std::max(options.ram_bytes, resident ? model.weight_bytes() + kBuffersGuessBytes : 0), &heading.notes));
  ASSIGN_OR_RETURN(const std::vector<BenchRun> runs, run_all(runner, tasks, options.n_repeat));

  // 3. What they add up to.
  const BenchReport report = summarize_bench(runs);
  ASSIGN_OR_RETURN(const bool written, print_line_to_stdout(options.json ? bench_report_json(heading, report, runs)
                                                                         : bench_report_table(heading, report)));
  if (!report.logits_equal)
    return error(Code::kInternal, fmt::format("THE LOGITS DIFFER, so something computes wrong numbers: {}; please "
                                              "report this, with the output of 'spillway verify'",
                                              logits_by_run(runs)));
  if (!report.ours_ok) {
    const auto failed = std::find_if(runs.begin(), runs.end(), [](const BenchRun& run) {
      return is_under_test(run.kind) && run.outcome != BenchOutcome::kOk;
    });
    return error(Code::kInternal, fmt::format("a run of Spillway failed: {}", failed->failure));
  }
  if (report.limit_is_passed)
    return error(Code::kInternal,
                 "faster than the best that disk or processor did in any of these runs: "
                 "something is counted wrongly; please report this, with the output of --json");
  return written ? kExitOk : kExitPipeClosed;
}

// CLI11's own validators put themselves into the help.
CLI::Validator between(uint32_t min, uint32_t max) {
  const auto check = [min, max](const std::string& text) {
    uint32_t n = 0;
    const bool accepted = CLI::detail::lexical_cast(text, n) && n >= min && n <= max;
    return accepted ? "" : fmt::format("'{}' is not a number from {} to {}", text, min, max);
  };
  return {check, ""};
}

std::string is_mode(const std::string& name) {
  for (const char* mode : {"auto", "resident", "stream", "mmap"})
    if (name == mode) return "";
  return "'" + name + "' is none of auto, resident, stream, mmap";
}

void check_usage(const BenchOptions& options) {
  if (options.ram_bytes == 0 && !options.resident_check && !options.plan_quality)
    throw CLI::ValidationError("--ram", "say how much memory the runs get, for example --ram 2G");
  if (!options.adapters.empty() && (options.llama_bench || options.resident_check))
    throw CLI::ValidationError("--lora", "llama-bench takes no adapters: leave out --llama-bench and --resident-check");
  PointTokens tokens{options.n_warmup, options.n_decode};
  if (options.plan_quality && !options.budgets_percent.empty())
    tokens = point_tokens(std::ranges::max(options.budgets_percent), tokens);
  const uint32_t n_needed = (options.resident_check ? 1 : options.n_prompt) + tokens.n_warmup + tokens.n_decode + 1;
  if (options.n_ctx < std::max(n_needed, options.resident_check ? kCheckPromptTokens : 0))
    throw CLI::ValidationError("--context",
                               fmt::format("{} tokens are too few for these runs, which take {}", options.n_ctx,
                                           std::max(n_needed, options.resident_check ? kCheckPromptTokens : 0)));
}

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  CLI::App* verb =
      app.add_subcommand("bench", "Measure a model in a given memory, beside mmap and the hardware's limits");
  verb->option_defaults()->take_last();  // an alias's options can be overruled
  const auto o = std::make_shared<BenchOptions>();
  const auto number = [&](const std::string& name, uint32_t& value, const std::string& description, uint32_t min,
                          uint32_t max) {
    return verb->add_option(name, value, description)->type_name("N")->check(between(min, max));
  };
  verb->add_option("MODEL", o->model_path, kModelHelp)->required()->type_name("");
  add_size_option(*verb, "--ram", o->ram_bytes, "Memory for each run, page cache included");
  verb->add_flag("--baseline", o->baseline, "Measure plain libllama over the kernel's mmap too, in the same memory");
  verb->add_flag("--llama-bench", o->llama_bench, "Measure llama.cpp's own tool too, over mmap and as it comes");
  verb->add_flag("--no-resident", o->no_resident, "Leave out the run that tells the pure compute time");
  verb->add_flag("--no-cap", o->no_cap, "Do not cap anyone (needs no rights; mmap then has all memory)");
  verb->add_flag("--resident-check", o->resident_check,
                 "Instead of all that: resident mode against llama-bench, decode and a prompt of 512");
  verb->add_flag(
      "--plan-quality", o->plan_quality,
      "Instead: predictions beside measurements, and the chosen mode beside the others, over several budgets");
  verb->add_option("--budgets", o->budgets_percent, "Those budgets, in percent of the weights")
      ->delimiter(',')
      ->check(CLI::Range(1, 1000))
      ->type_name("N,N...")
      ->capture_default_str();
  verb->add_option("--mode", o->mode, "Mode of our runs")
      ->type_name("auto|resident|stream|mmap")
      ->check(is_mode)
      ->capture_default_str();
  number("--repeat", o->n_repeat, "Repetitions, interleaved; medians count", 1, 1000)->capture_default_str();
  number("-n,--tokens", o->n_decode,
         "Tokens measured in each run; --plan-quality takes more where these are over in less than 5 s", 1, 10000)
      ->capture_default_str();
  number("--prompt-tokens", o->n_prompt, "Tokens of the prompt before them; from 128 on, its speed is measured too", 1,
         100000)
      ->capture_default_str();
  number("--warmup", o->n_warmup, "Tokens before them", 0, 10000)->capture_default_str();
  number("-c,--context", o->n_ctx, "Tokens of context", 16, 1 << 20)->capture_default_str();
  declare_cache_options(*verb, o->cache);
  declare_adapter_option(*verb, o->adapters);
  add_threads_option(*verb, o->n_threads, "Threads for arithmetic [the CPUs this process may use]");
  verb->add_option("--seed", o->seed, "Same seed, same token ids")->type_name("N")->capture_default_str();
  verb->add_flag("--json", o->json, "Print one JSON object, with the report of every run");
  verb->footer(kBenchExamples);
  verb->callback([&action, o] {
    check_usage(*o);
    action = [o] { return run_bench(*o); };
  });
}

}  // namespace spillway
