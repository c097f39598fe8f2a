// SPDX-License-Identifier: MIT
// Changes to a choice that device_split found: what does not fit is made to, what fits better is taken. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/device_split.h"

namespace spillway {

// [home] What a choice takes of each memory.
std::vector<uint64_t> used_bytes(const SplitProblem& problem, const std::vector<size_t>& chosen);

// Moves stages out of memory that holds too much, the least loss of seconds for each byte first, until all fits. From a
// device to homes before it, from the front of its stretch to the home before, from its end to the one behind, and
// experts anywhere; from the host to devices that have room. false: it does not fit.
bool make_fit(const SplitProblem& problem, std::vector<size_t>& chosen);

// Changes one stage, makes the rest fit and uses what room is left, as long as that is faster. `chosen` fits before and
// after; empty: nothing is done.
void improve(const SplitProblem& problem, std::vector<size_t>& chosen);

}  // namespace spillway
