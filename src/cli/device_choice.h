// SPDX-License-Identifier: MIT
// Which GPUs and workers a load may use, from the command line and the machine's profile. Used by the main thread.
#pragma once

#include "cli/run/run_options.h"

namespace spillway {

// Fills options.load.devices, or leaves the choice to the planner and hands it the machine's profile. Where there are
// GPUs or workers that were never measured, measures them once, with a progress bar.
//   NotFound          a device that is not there      InvalidArgument   a size that is none
//   errors of current_profile
Result<void> choose_devices(RunOptions& options);

}  // namespace spillway
