// SPDX-License-Identifier: MIT
#include "cli/pull_offer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <vector>

#include "base/bytes.h"
#include "cli/end_by_signal.h"
#include "cli/interrupt.h"
#include "cli/model_argument.h"
#include "cli/plan/plan_machine.h"
#include "cli/pull_bar.h"
#include "cli/report_text.h"
#include "cli/stderr_text.h"
#include "engine/auto_plan.h"
#include "engine/correction_store.h"
#include "engine/load_budget.h"
#include "model/model_store.h"
#include "os/folder.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

// What would come of it, and by which figures.
struct Prospect {
  Plan plan;
  std::string figures;
};

Result<Prospect> prospect_of(const GgufModel& model, const LoadOptions& load, const std::string& place) {
  ASSIGN_OR_RETURN(PlanMachine machines, PlanMachine::open("", place));
  PlanRequest request;
  request.ram_bytes = budget_bytes_for(load.ram_bytes);
  request.mode = load.mode;
  ASSIGN_OR_RETURN(request.kernels, kernels_for(model, load));
  const MachineProfile machine = machines.for_model(model, request);
  ASSIGN_OR_RETURN(ContextChoice choice,
                   plan_load(model, load, machine, {.budget_bytes = request.ram_bytes, .mode = load.mode}));
  return Prospect{.plan = std::move(choice.plan), .figures = figures_text(machine, main_types(model))};
}

std::string speed_here(const Prospect& prospect) {
  const Prediction& p = prospect.plan.prediction;
  return fmt::format("about {} ({}), the first token of an answer after {}", speed_text(p.decode_tok_per_s),
                     prospect.plan.name, seconds_text(p.first_token_s));
}

bool somebody_is_there() { return isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1; }

// The Enter key alone means yes.
bool agrees() {
  print_to_stderr("Download it? [Y/n] ");
  std::array<char, 256> line{};
  if (std::fgets(line.data(), line.size(), stdin) == nullptr) {
    print_to_stderr("\n");
    return false;
  }
  return line[0] == '\n' || line[0] == 'y' || line[0] == 'Y';
}

Result<void> check_room(const RemoteModel& remote, const std::string& folder) {
  ASSIGN_OR_RETURN(const uint64_t free_bytes, disk_bytes_free(folder));
  if (free_bytes >= remote.download_bytes) return {};
  return error(Code::kDiskFull, fmt::format("{}: {} to download, {} free; set SPILLWAY_MODELS to a folder with room",
                                            folder, format_bytes(remote.download_bytes), format_bytes(free_bytes)));
}

// Ctrl-C ends it in order: what came stays for the next pull. Before and after, it ends the program.
Result<void> pull_now(const std::string& argument) {
  install_interrupt_handler();
  PullBar bar;
  PullOptions options = user_pull_options();
  options.progress = [&](const PullProgress& one) { bar.show(one); };
  auto outcome = pull(argument, options);
  std::signal(SIGINT, end_by_signal);
  // Pressed too late for the pull, it is meant for what comes next, which would take itself for interrupted for ever.
  if (outcome && interrupted()) return error(Code::kCancelled, "stopped");
  return outcome;
}

}  // namespace

Result<void> offer_pull(const std::string& argument, const ModelName& name, const LoadOptions& load, bool unasked) {
  const std::string folder = weights_folder(user_pull_options().own_folder), shown = name.shown();
  ASSIGN_OR_RETURN(const RemoteModel remote, find_remote(argument, name));
  RETURN_IF_ERROR(check_room(remote, folder));
  const auto prospect = prospect_of(remote.model, load, folder);
  if (!prospect)
    return error(prospect.error().code(),
                 fmt::format("{}: is not on this machine ({} to download), and would not run: {}", shown,
                             format_bytes(remote.download_bytes), prospect.error().message()));
  if (unasked) return pull_now(argument);
  if (!somebody_is_there())
    return error(Code::kNotFound,
                 fmt::format("{}: is not on this machine: {} to download; here {}; 'spillway pull {}' fetches it, "
                             "or --pull",
                             shown, format_bytes(remote.download_bytes), speed_here(*prospect), shown));
  const std::string with = remote.projector_file.empty() ? "" : fmt::format(" and {}", remote.projector_file);
  const std::string file = remote.file.empty() ? "" : fmt::format(" ({}{})", remote.file, with);
  print_to_stderr(fmt::format("{} is not on this machine.\n{}{}{}", shown,
                              row("download", format_bytes(remote.download_bytes) + file),
                              row("here", speed_here(*prospect)), row("figures", prospect->figures)));
  if (!agrees())
    return error(Code::kNotFound, fmt::format("{}: is not on this machine, and was not downloaded", shown));
  return pull_now(argument);
}

}  // namespace spillway
