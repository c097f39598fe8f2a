// SPDX-License-Identifier: MIT
// A prediction that a run showed to be off by more than two, and why that is likely. Pure.
#pragma once

#include <optional>
#include <string>

#include "cli/run/run_stats.h"
#include "plan/placement.h"

namespace spillway {

// One sentence; nullopt where the run was within two of what was predicted, or too short to say so.
std::optional<std::string> prediction_miss(const Placement& placement, const RunStats& stats);

}  // namespace spillway
