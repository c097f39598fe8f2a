// SPDX-License-Identifier: MIT
// All of a profile measured, one thing after the other, so that nothing disturbs anything else. Used by the main
// thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "hw/fingerprint.h"
#include "hw/machine_profile.h"
#include "os/file.h"
#include "os/machine.h"

namespace spillway {

using MeasureProgress = std::function<bool(double fraction, const std::string& stage)>;

// What a disk is measured on.
struct DiskSubject {
  Volume volume;
  std::vector<std::unique_ptr<File>> files;  // empty: nothing suitable was found
  std::string why_none;
};

// Workers in the order of `addresses`; several for one that offers several devices. Their doubts are added to `doubts`.
//   as measure_worker_apart; the first failure counts, since the user named them
Result<std::vector<WorkerFacts>> measure_workers(const std::vector<std::string>& addresses, double time_s,
                                                 std::vector<std::string>& doubts, const MeasureProgress& progress);

// Everything but workers, within about `time_s`; what no time is left for is missing, and a doubt says so. `devices` as
// ggml reports them.
//   Cancelled   progress said so, or Ctrl-C      Unsupported   ggml's CPU backend is missing
//   OutOfBudget  Busy   the system gives too little memory, or too few threads
Result<MachineProfile> measure_machine(const MachineIdentity& identity, const DiskSubject& disk,
                                       const std::vector<DeviceFacts>& devices, double time_s,
                                       const MeasureProgress& progress);

}  // namespace spillway
