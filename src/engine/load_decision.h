// SPDX-License-Identifier: MIT
// What a load measures of the machine, and what it decides by that: values, each made whole by one function here. What
// turns out otherwise later makes another Decision; nobody changes one. Used by the thread that loads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/load_request.h"
#include "probe/compute_probe.h"
#include "probe/quick_probe.h"

namespace spillway {

struct Measured {
  ComputeProbe probe;
  MatmulRate compute;  // rates of 0: not measured
  DiskReport disk;     // a speed of 0: not measured
  MachineProfile machine;
  uint64_t held_bytes = 0;  // of the budget, by other models of the process
  // What was sure to fit by the sizes of the files alone is resident, other models stream: the mode of a load that
  // nothing is planned for.
  Mode mode_by_size = Mode::kResident;
};

// A context as it is to be made, or as libllama made it.
struct ContextShape {
  uint32_t n_ctx = 0;                                 // tokens of each sequence, or of all where they share them
  uint32_t n_batch = 0, n_ubatch = 0, n_outputs = 0;  // as in LoadOptions
};

struct Decision {
  Mode mode = Mode::kResident;
  Kernels kernels = Kernels::kPlain;
  ContextShape context;
  uint32_t n_ctx_default = 0;  // see ModelInfo
  std::string n_ctx_why = {};
  DeviceOptions devices;
  std::vector<bool> on_device = {};  // [n_tensor]
  uint64_t device_bytes = 0;         // weights there
  uint64_t reserve_bytes = 0;        // for the caller's own caches: as asked, or nothing
  uint64_t other_bytes_planned = 0;
  std::optional<Plan> plan = std::nullopt;  // nullopt: nothing was planned, or not what is loaded now
};

// By `kernels`: those of a host.
//   InvalidArgument   more tokens than any context has
Result<Measured> measure(const LoadRequest& request, Kernels kernels);

// By the planner; what it finds no room for is refused here, before anything is taken. Budgets for weights alone and
// devices that were named are for the caller to know: nothing is planned then.
//   errors of make_plan
Result<Decision> decide(const LoadRequest& request, const Measured& measured, Kernels kernels);

// Only whether the planner finds room, beside `held_bytes` of other models.
//   errors of make_plan
Result<void> check_plan(const LoadRequest& request, uint64_t held_bytes);

// Smaller buffers than `made`, where what was measured is more than what was planned: a slow pass is better than none.
// nullopt: they are the smallest.
std::optional<Decision> with_smaller_buffers(const LoadRequest& request, const Decision& decision,
                                             const ContextShape& made);

// What was to stream fits after all: the plan becomes one for a resident model on the same devices, or none.
Decision resident_instead(const LoadRequest& request, const Measured& measured, const Decision& decision,
                          const ContextShape& made);

// Predicted again, with what the rest of the process really takes.
Decision with_other_bytes(const LoadRequest& request, const Measured& measured, const Decision& decision,
                          const ContextShape& made, uint64_t other_bytes);

// What a load that was planned measures again while it reads, since what was measured before it was a moment's.
struct LoadSamples {
  DiskSamples disk;
  std::optional<ComputeSamples> compute;  // none where its weights do not fit beside those of the model

  void take_sample() {
    disk.take_sample();
    if (compute) compute->take_sample();
  }
};
// `free_bytes`: of the budget, not used until the last sample. Nothing where neither was measured.
std::optional<LoadSamples> load_samples(const LoadRequest& request, const Measured& measured, uint64_t free_bytes);
// By what they saw.
Measured with_samples(const LoadRequest& request, const Measured& measured, const LoadSamples& samples);

uint64_t host_weight_bytes(const GgufModel& gguf, const std::vector<bool>& on_device);

}  // namespace spillway
