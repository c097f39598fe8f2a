// SPDX-License-Identifier: MIT
// spillway profile [MODEL]: what this machine can do, measured.
#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "base/clock.h"
#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/current_profile.h"
#include "cli/interrupt.h"
#include "cli/probe_child.h"
#include "cli/profile_table.h"
#include "cli/progress_bar.h"
#include "cli/run/run_options.h"
#include "hw/profile_json.h"
#include "os/tcp.h"

namespace spillway {
namespace {

constexpr const char* kProfileExamples = R"(Examples:
  spillway profile                               memory, processor, disk, GPUs: measured once, then kept for a month
  spillway profile /mnt/fast/model.gguf          the disk that holds this model
  spillway profile --refresh                     measure again, for example after something else used the machine
  spillway profile --worker 192.168.0.7:50052    also another machine, where ggml-rpc-server runs
  spillway profile --json > my-machine.json      for spillway plan --profile, here or anywhere

Takes up to 20 seconds, writes nothing but its result, and says what it doubts.)";

struct ProfileCommand {
  ProfileRequest request;
  bool json = false;
  std::string child_device, child_worker;  // measure only this, here, for the process that started us
  double child_seconds = 4;
};

Result<int> run_child_part(const ProfileCommand& command) {
  if (!command.child_device.empty()) {
    ASSIGN_OR_RETURN(const DeviceFigures figures, measure_device(command.child_device, command.child_seconds));
    return print_and_end(device_answer(figures));
  }
  ASSIGN_OR_RETURN(const WorkerFigures figures, measure_worker(command.child_worker, command.child_seconds));
  return print_and_end(worker_answer(figures));
}

Result<int> run_profile(ProfileCommand command) {
  if (!command.child_device.empty() || !command.child_worker.empty()) return run_child_part(command);
  for (const std::string& address : command.request.workers) RETURN_IF_ERROR(parse_tcp_address(address));
  install_interrupt_handler();
  ProgressBar progress("measuring");
  command.request.progress = [&](double fraction, const std::string& stage) {
    progress.show(fraction, stage);
    return !interrupted();
  };
  ASSIGN_OR_RETURN(const CurrentProfile current, current_profile(command.request));
  progress.clear();
  return print_and_end(command.json ? encode_profile(current.profile) : profile_table(current, unix_s()));
}

}  // namespace

void add_profile_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("profile", "Measure what this machine can do");
  const auto command = std::make_shared<ProfileCommand>();
  verb->add_option("MODEL", command->request.model, "GGUF file whose disk is measured [where models or programs are]");
  verb->add_flag("--refresh", command->request.refresh, "Measure again, whatever was kept");
  verb->add_option("--worker", command->request.workers, "Also measure the ggml-rpc-server there; repeatable")
      ->type_name("HOST:PORT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_threads_option(*verb, command->request.n_threads, "Threads [the CPUs this process may use]");
  verb->add_flag("--json", command->json, "Print one JSON object");
  verb->add_option("--measure-device", command->child_device, "Measure this device alone")->group("");
  verb->add_option("--measure-worker", command->child_worker, "Measure this worker alone")->group("");
  verb->add_option("--measure-seconds", command->child_seconds, "For about so long")->group("");
  verb->footer(kProfileExamples);
  verb->callback([&action, command] { action = [command] { return run_profile(*command); }; });
}

}  // namespace spillway
