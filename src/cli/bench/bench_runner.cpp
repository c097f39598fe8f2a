// SPDX-License-Identifier: MIT
#include "cli/bench/bench_runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <sstream>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "cli/bench/token_argument.h"
#include "cli/interrupt.h"
#include "os/child_process.h"
#include "os/folder.h"
#include "os/own_program.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr uint32_t kPassTokens = 128;  // what plans choose as a rule

std::string number(uint64_t n) { return std::to_string(n); }

std::string flash_name(const BenchSetup& setup) {
  return std::string(kFlashAttentionNames[static_cast<size_t>(setup.cache.flash)]);
}

// What a run of ours is given.
struct GivenTokens {
  TokenArgument prompt, answer;
};

Result<GivenTokens> tokens_for(const BenchTask& task, const BenchSetup& setup) {
  const std::span<const TokenId> ids(setup.ids);
  const size_t n_answer = bench_ids_needed(task, setup.n_warmup) - task.n_prompt;
  ASSIGN_OR_RETURN(TokenArgument prompt, TokenArgument::make(ids.first(task.n_prompt)));
  ASSIGN_OR_RETURN(TokenArgument answer, TokenArgument::make(ids.subspan(task.n_prompt, n_answer)));
  return GivenTokens{std::move(prompt), std::move(answer)};
}

Words run_arguments(const BenchTask& task, const BenchSetup& setup, const GivenTokens& tokens) {
  const size_t n_answer = bench_ids_needed(task, setup.n_warmup) - task.n_prompt;
  // Nothing is learned: a heat profile would know these very tokens from the run before, and in a cap the figures are
  // not this machine's.
  Words words = {"run",
                 setup.model_path,
                 "--token-ids",
                 tokens.prompt.word(),
                 "--teacher-tokens",
                 tokens.answer.word(),
                 "--max-tokens",
                 number(n_answer),
                 "--warmup",
                 number(setup.n_warmup),
                 "--threads",
                 number(setup.n_threads),
                 "--context",
                 number(setup.n_ctx),
                 "--cache-type-k",
                 setup.cache.type_k,
                 "--cache-type-v",
                 setup.cache.type_v,
                 "--flash-attn",
                 flash_name(setup),
                 "--temp",
                 "0",
                 "--json",
                 "--no-heat",
                 "--stats"};
  const auto add = [&](const Words& more) { words.insert(words.end(), more.begin(), more.end()); };
  for (const LoraAdapter& adapter : setup.adapters) add({"--lora", fmt::format("{}:{}", adapter.path, adapter.scale)});
  // Passes of one length round alike, and all runs are compared.
  if (task.n_prompt > kPassTokens && task.kind != BenchKind::kResidentFree) add({"--ubatch", number(kPassTokens)});
  switch (task.kind) {
    case BenchKind::kOurs:
      add({"--mode", setup.mode, "--ram", number(setup.ram_bytes), "--kernels", "plain"});
      break;
    case BenchKind::kBaseline:
      add({"--mode", "mmap", "--kernels", "plain"});
      break;
    case BenchKind::kResident:
      add({"--mode", "resident", "--kernels", "plain"});
      break;
    default:
      add({"--mode", "resident"});
  }
  return words;
}

Words llama_bench_arguments(const BenchTask& task, const BenchSetup& setup) {
  // Devices are left out as Spillway leaves them out. What is measured first is measured once: repetitions are ours.
  Words words = {"-m",   setup.model_path,
                 "-p",   number(task.n_prompt),
                 "-n",   number(task.n_decode),
                 "-t",   number(setup.n_threads),
                 "-dev", "none",
                 "-ngl", "0",
                 "-ctk", setup.cache.type_k,
                 "-ctv", setup.cache.type_v,
                 "-fa",  flash_name(setup),
                 "-r",   "1",
                 "-o",   "json"};
  if (task.kind == BenchKind::kLlamaBench) words.insert(words.end(), {"-lm", "mmap", "--repack", "0"});
  // The first prompt of a `spillway run` has had no other before it either. Decoding is warmed up on both sides.
  if (task.n_decode == 0) words.emplace_back("--no-warmup");
  return words;
}

// llama.cpp's own tool comes without the settings that main() restarts this program with (os/restart.h).
Words settings_of_ours() {
  if (std::getenv("SPILLWAY_RESTARTED") == nullptr) return {};
  return {"GOMP_SPINCOUNT", "SPILLWAY_RESTARTED"};
}

ChildCommand own_command(const BenchTask& task, const BenchSetup& setup, const GivenTokens& tokens) {
  ChildCommand command;
  command.program = own_program();
  command.arguments = run_arguments(task, setup, tokens);
  return command;
}

ChildCommand llama_bench_command(const BenchTask& task, const BenchSetup& setup) {
  ChildCommand command;
  CHECK(setup.llama_bench.has_value());
  command.program = setup.llama_bench->program;
  command.arguments = setup.llama_bench->arguments;
  for (std::string& word : llama_bench_arguments(task, setup)) command.arguments.push_back(std::move(word));
  command.folder = setup.llama_bench->folder;
  command.unset = settings_of_ours();
  return command;
}

std::string last_line(const std::string& text) {
  std::istringstream stream(text);
  std::string last;
  for (std::string line; std::getline(stream, line);)
    if (!line.empty()) last = line;
  constexpr std::string_view kOurName = "spillway: ";
  return last.starts_with(kOurName) ? last.substr(kOurName.size()) : last;
}

std::string failure_of(const ChildOutcome& child) {
  if (child.signal != 0) return fmt::format("ended by signal {} ({})", child.signal, ::strsignal(child.signal));
  const std::string why = last_line(child.errors);
  return why.empty() ? fmt::format("ended with exit code {}", child.exit_code) : why;
}

Failure explain(const Status& status) {
  if (status.code() != Code::kPermissionDenied && status.code() != Code::kUnsupported) return Failure(status);
  return error(status.code(), fmt::format("{}; run it as root, or inside 'systemd-run --user --scope -p Delegate=yes', "
                                          "or compare without caps: --no-cap",
                                          status.message()));
}

}  // namespace

Result<LlamaBenchProgram> find_llama_bench() {
  std::error_code ignored;
  // SPILLWAY_BACKENDS_DIR is <prefix>/lib/<machine>/ggml/backends*; empty where llama.cpp is installed.
  const fs::path backends = SPILLWAY_BACKENDS_DIR;
  if (!backends.empty()) {
    const fs::path lib = backends.parent_path().parent_path();
    const fs::path program = lib.parent_path().parent_path() / "bin/llama-bench";
    for (const auto& entry : folder_entries(lib)) {
      const std::string name = entry.path().filename();
      if (name.starts_with("ld-linux") && name.find(".so.") != std::string::npos && fs::exists(program, ignored))
        return LlamaBenchProgram{.program = entry.path(),
                                 .arguments = {"--library-path", fmt::format("{0}:{0}/llama", lib.string()), program},
                                 .folder = backends};
    }
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string program = folder + "/llama-bench";
    if (::access(program.c_str(), X_OK) == 0)
      return LlamaBenchProgram{.program = program, .arguments = {}, .folder = {}};
  }
  return error(Code::kNotFound, fmt::format("llama-bench is neither in PATH{}{}; install llama.cpp's tools",
                                            backends.empty() ? "" : " nor beside ", backends.string()));
}

size_t bench_ids_needed(const BenchTask& task, uint32_t n_warmup) {
  return size_t{task.n_prompt} + (task.n_decode > 0 ? n_warmup + task.n_decode : 0) + 1;
}

Result<void> BenchRunner::check_cgroups() const {
  const auto group = MemoryCgroup::create(fmt::format("spillway-bench-{}", ::getpid()), setup_.ram_bytes);
  if (!group) return explain(group.error());
  return {};
}

Result<BenchRun> BenchRunner::run(const BenchTask& task, uint32_t repetition, const std::function<void()>& on_tick) {
  CHECK(is_llama_bench(task.kind) || setup_.ids.size() >= bench_ids_needed(task, setup_.n_warmup));
  // 1. The same start for everyone.
  if (setup_.start_cold)
    for (const auto& file : model_.files) drop_from_page_cache(*file);
  std::optional<MemoryCgroup> cgroup;
  if (setup_.use_cgroups && is_capped(task.kind)) {
    auto created =
        MemoryCgroup::create(fmt::format("spillway-bench-{}-{}", ::getpid(), ++n_cgroups_), setup_.ram_bytes);
    if (!created) return explain(created.error());
    cgroup.emplace(std::move(*created));
  }

  // 2. The run.
  std::optional<GivenTokens> tokens;  // while it runs
  if (!is_llama_bench(task.kind)) {
    ASSIGN_OR_RETURN(tokens, tokens_for(task, setup_));
  }
  ChildCommand command = tokens ? own_command(task, setup_, *tokens) : llama_bench_command(task, setup_);
  command.cgroup = cgroup ? &*cgroup : nullptr;
  ASSIGN_OR_RETURN(const ChildOutcome child, run_child(command, [&] {
                     on_tick();
                     return !interrupted();
                   }));

  // 3. What became of it.
  BenchRun run;
  run.kind = task.kind;
  run.repetition = repetition;
  run.wall_s = child.wall_s;
  run.rss_bytes_max = child.rss_bytes_max;
  if (cgroup) run.cgroup_bytes_max = cgroup->usage_bytes_max();
  if (child.exit_code != 0) {
    const bool oom_killed = child.signal == SIGKILL && cgroup && cgroup->oom_kills() > 0;
    run.outcome = oom_killed ? BenchOutcome::kOomKilled : BenchOutcome::kFailed;
    run.failure = oom_killed
                      ? fmt::format("killed by the kernel: it needs more than {}", format_bytes(setup_.ram_bytes))
                      : failure_of(child);
    return run;
  }
  const auto read = is_llama_bench(task.kind) ? read_llama_bench_report(child.output, task, run)
                                              : read_run_report(child.output, task, run);
  run.outcome = read ? BenchOutcome::kOk : BenchOutcome::kFailed;
  if (!read) run.failure = read.error().message();
  return run;
}

}  // namespace spillway
