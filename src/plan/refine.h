// SPDX-License-Identifier: MIT
// Small changes to a split, as long as the plan's own prediction says that they help. Pure.
//
// Where the host streams, a split was found by a sum that only stands for the prediction (plan/split_problem); this
// makes up for what the sum does not know: how much stays in memory, and which of reading and computing is longer.
#pragma once

#include "plan/evaluate.h"

namespace spillway {

// `one`, possible and without an expert cache, or a faster one: moves the places where homes change, and experts
// between host and device.
Evaluated refine(const PlanBasis& basis, Evaluated one);

}  // namespace spillway
