// SPDX-License-Identifier: MIT
#include "cli/probe_child.h"

#include <fmt/format.h>

#include <cstring>

#include "cli/interrupt.h"
#include "hw/profile_json.h"
#include "os/child_process.h"
#include "os/own_program.h"

namespace spillway {
namespace {

// Our own program says why on the last line, after its name.
std::string reason_of(const ChildOutcome& child) {
  constexpr std::string_view kOurName = "spillway: ";
  const size_t at = child.errors.rfind(kOurName);
  if (at == std::string::npos) return {};
  const size_t begin = at + kOurName.size();
  return child.errors.substr(begin, child.errors.find('\n', begin) - begin);
}

struct Question {
  std::string who;     // "worker lab:50052"
  std::string option;  // that names it to the child
  std::string value;
  std::string likely;  // why the process may break down
};

// The answer of the child as a profile that holds nothing else.
Result<MachineProfile> ask(const Question& question, const ProbeTime& time, const std::function<void()>& on_tick) {
  ChildCommand command;
  command.program = own_program();
  command.arguments = {"profile", question.option, question.value, "--measure-seconds",
                       fmt::format("{:.1f}", time.measure_s)};
  command.timeout_s = time.limit_s;
  ASSIGN_OR_RETURN(const ChildOutcome child, run_child(command, [&] {
                     on_tick();
                     return !interrupted();
                   }));
  if (child.exit_code == 0) return decode_profile(child.output);
  if (child.timed_out)
    return error(Code::kInternal,
                 fmt::format("{} did not answer within {:.0f} s; {}", question.who, time.limit_s, question.likely));
  if (child.signal != 0)
    return error(Code::kInternal,
                 fmt::format("{} broke down ({}); {}", question.who, ::strsignal(child.signal), question.likely));
  const std::string reason = reason_of(child);
  return error(Code::kInternal, reason.empty() ? fmt::format("{} can not be used", question.who) : reason);
}

}  // namespace

Result<DeviceFigures> measure_device_apart(const std::string& name, const ProbeTime& time,
                                           const std::function<void()>& on_tick) {
  ASSIGN_OR_RETURN(MachineProfile answer,
                   ask({name, "--measure-device", name, "is its driver in order?"}, time, on_tick));
  if (answer.devices.size() != 1) return error(Code::kInternal, fmt::format("{} was not measured", name));
  return DeviceFigures{std::move(answer.devices.front()), std::move(answer.doubts)};
}

Result<WorkerFigures> measure_worker_apart(const std::string& address, const ProbeTime& time,
                                           const std::function<void()>& on_tick) {
  ASSIGN_OR_RETURN(MachineProfile answer, ask({fmt::format("worker {}", address), "--measure-worker", address,
                                               "is it a ggml-rpc-server of the version that is installed here?"},
                                              time, on_tick));
  if (answer.workers.empty()) return error(Code::kInternal, fmt::format("worker {} was not measured", address));
  return WorkerFigures{std::move(answer.workers), std::move(answer.doubts)};
}

std::string device_answer(const DeviceFigures& figures) {
  MachineProfile answer;
  answer.devices = {figures.facts};
  answer.doubts = figures.doubts;
  return encode_profile(answer);
}

std::string worker_answer(const WorkerFigures& figures) {
  MachineProfile answer;
  answer.workers = figures.workers;
  answer.doubts = figures.doubts;
  return encode_profile(answer);
}

}  // namespace spillway
