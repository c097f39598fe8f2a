// SPDX-License-Identifier: MIT
// Which GPUs and workers a load may use, from the command line and the machine's profile. Used by the main thread.
#pragma once

#include <cstdint>
#include <optional>

#include "base/status.h"
#include "cli/run/run_options.h"

namespace spillway {

// Memory of each GPU that a plan may use, by --gpu-memory and --gpu-layers; 0: no GPU is used; nullopt: what is free.
//   InvalidArgument   a size that is none
Result<std::optional<uint64_t>> gpu_memory_of(const RunOptions& options);

// Fills options.load.devices, or leaves the choice to the planner and hands it the machine's profile. Where there are
// GPUs or workers that were never measured, measures them once, with a progress bar.
//   NotFound          a device that is not there      InvalidArgument   a size that is none
//   errors of current_profile
Result<void> choose_devices(RunOptions& options);

}  // namespace spillway
