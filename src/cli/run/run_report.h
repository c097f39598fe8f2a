// SPDX-License-Identifier: MIT
// The report of a run, for people (an aligned table) and for programs (one JSON object).
#pragma once

#include <string>

#include "cli/run/generator.h"
#include "cli/run/run_stats.h"

namespace spillway {

// On one line. Figures that the run does not have are null; invalid UTF-8 in the text becomes U+FFFD.
std::string run_report_json(const Placement& placement, const Generation& generation, const RunStats& stats);

// Lines "name   value with unit", each ended by a newline.
std::string run_report_table(const Placement& placement, const Generation& generation, const RunStats& stats);

}  // namespace spillway
