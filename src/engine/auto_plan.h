// SPDX-License-Identifier: MIT
// Plans a load: puts what the caller asked for, what is known of the machine and what earlier runs taught before the
// planner, and its answer back into load options.
#pragma once

#include <optional>

#include "engine/engine.h"
#include "model/gguf_model.h"
#include "plan/context_choice.h"
#include "plan/planner.h"

namespace spillway {

// What a load measures itself, in a fraction of a second.
struct QuickFigures {
  MatmulRate compute;           // of the type that most of the weights have; rates of 0: not measured
  double disk_bytes_per_s = 0;  // 0: not measured
  uint32_t read_bytes = 0;
  unsigned depth = 0;
};

// `profile` updated by what was just measured; without one, a machine made of that alone, which says so.
// `n_threads`: 0: the CPUs this process may use. A disk that is faster than any is not believed: the file is a hole, or
// lies in memory.
MachineProfile machine_of(const std::optional<MachineProfile>& profile, unsigned n_threads, const QuickFigures& figures,
                          const GgufModel& model);

// For a load on this machine; auto where the test budget for weights is given: plain.
//   errors of choose_kernels
Result<Kernels> kernels_for(const GgufModel& model, const LoadOptions& options);

// What a load has to go by beside what its caller asked for.
struct LoadLimits {
  uint64_t budget_bytes = 0;                // for the whole process
  uint64_t held_bytes = 0;                  // of that, what other models of the process hold
  uint64_t adapter_bytes = 0;               // of the options' adapters, whose files are not looked at
  uint64_t projector_bytes = 0;             // of the options' projector, with its buffers
  uint64_t other_bytes = 0;                 // measured need beside weights; 0: not yet
  std::optional<Mode> mode = std::nullopt;  // only plans of it
};

// The plan, and with it the size of the context where the options name none.
//   errors of make_plan
Result<ContextChoice> plan_load(const GgufModel& model, const LoadOptions& options, const MachineProfile& machine,
                                const LoadLimits& limits);

// Layers, experts and shares as the plan wants them on devices.
DeviceOptions devices_of(const Plan& plan, const GgufModel& model);

}  // namespace spillway
