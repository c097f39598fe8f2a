// SPDX-License-Identifier: MIT
// What a plan says in sentences: why it is the one, why others lost, why there is none. Pure.
#pragma once

#include <string>

#include "plan/evaluate.h"

namespace spillway {

// Why `plan` was chosen.
std::string reason(const PlanRequest& request, const Plan& plan);

// Why a model is resident.
std::string fits_words(uint64_t weight_bytes, uint64_t memory_bytes);

// Why a possible candidate lost.
std::string why_lost(const Evaluated& one, const Evaluated& best);

// Why nothing is possible within `ram_bytes`: an OutOfBudget that names the least memory which does. 0: none would.
Status why_nothing(const PlanBasis& basis, uint64_t ram_bytes, uint64_t least_bytes);

}  // namespace spillway
