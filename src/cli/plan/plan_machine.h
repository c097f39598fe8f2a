// SPDX-License-Identifier: MIT
// The machine that plans are for: one that is named, this one as 'spillway profile' kept it, or this one measured now;
// each figure once, for however many models are planned. Threads: one at a time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "base/status.h"
#include "engine/auto_plan.h"
#include "hw/machine_profile.h"
#include "model/gguf_model.h"
#include "plan/planner.h"
#include "probe/compute_probe.h"

namespace spillway {

class PlanMachine {
 public:
  // `profile`: a file of 'spillway profile --json', or the name of a shipped machine; empty: this one. `place`: on the
  // disk that the models are on or will be; what does not exist yet counts as the folder that does.
  //   NotFound  Corrupt  Unsupported  Io   a profile that was named
  static Result<PlanMachine> open(const std::string& profile, const std::string& place);

  // Measures with the least weights that say anything: for a process that has a budget.
  void spare_memory() { spares_memory_ = true; }

  bool is_this() const { return is_this_; }

  // Those that a load there would choose. `load`: its options, without devices that are named.
  //   errors of choose_kernels
  Result<Kernels> kernels_for_load(const GgufModel& model, const LoadOptions& load) const;

  // With what is measured for the types of this model's weights, where nothing was kept. `request`: its kernels.
  MachineProfile for_model(const GgufModel& model, const PlanRequest& request);

 private:
  MachineProfile measured_for(const GgufModel& model, const ComputeProbe& probe);
  const MatmulRate& compute_rate(const ComputeProbe& probe);
  std::optional<DiskFacts> disk_of(const GgufModel& model);

  bool is_this_ = true, spares_memory_ = false;
  std::string place_;  // exists
  bool place_is_there_ = false;
  std::optional<MachineProfile> kept_;                               // or named
  std::map<std::tuple<std::string, bool, bool>, MatmulRate> rates_;  // by type, experts, repacked
  std::optional<std::optional<DiskFacts>> disk_;                     // of `place_`; outer empty: not looked at yet
};

}  // namespace spillway
