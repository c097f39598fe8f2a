// SPDX-License-Identifier: MIT
// The program's verbs, one file each. A verb declares its options on the app; when it was the one that the command line
// names, it puts what is to be done into `action`, which main() runs once everything is parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/status.h"

namespace spillway {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // the Status says why
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;  // as shells count SIGINT
inline constexpr int kExitPipeClosed = 141;   // and SIGPIPE

using Action = std::function<Result<int>()>;  // the exit code

void add_run_command(CLI::App& app, Action& action);
void add_verify_command(CLI::App& app, Action& action);
void add_bench_command(CLI::App& app, Action& action);
void add_serve_command(CLI::App& app, Action& action);
void add_profile_command(CLI::App& app, Action& action);
void add_list_command(CLI::App& app, Action& action);
void add_show_command(CLI::App& app, Action& action);
void add_pull_command(CLI::App& app, Action& action);
void add_create_command(CLI::App& app, Action& action);
void add_copy_command(CLI::App& app, Action& action);
void add_remove_command(CLI::App& app, Action& action);
void add_plan_command(CLI::App& app, Action& action);
void add_inspect_command(CLI::App& app, Action& action);
void add_completion_command(CLI::App& app, Action& action);
void add_manual_command(CLI::App& app, Action& action);

}  // namespace spillway
