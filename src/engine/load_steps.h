// SPDX-License-Identifier: MIT
// The steps of a load, in their order: decide, load, make the context, predict. Used by the thread that loads.
#pragma once

#include <optional>

#include "engine/llama_engine.h"
#include "engine/quick_probe.h"
#include "plan/placement.h"

namespace spillway {

// --- load_decision.cpp

// Which mode to load in, and with it what goes to devices and how many tokens share a reading. Decided by the planner;
// where it finds nothing that fits, loading goes the careful way, measures and says what is missing. Budgets for
// weights alone and devices that were named are for the caller to know: nothing is planned then.
//   errors of make_plan, but for OutOfBudget
Result<Mode> choose_mode(EngineParts& parts, const MatmulRate& compute);

uint64_t host_weight_bytes(const EngineParts& parts);
PlanInput plan_input(const EngineParts& parts, uint64_t weights_budget_bytes, double compute_bytes_per_s);

// The plan's prediction becomes the placement's.
void adopt_prediction(EngineParts& parts);

// The same, with what the rest of the process really takes.
void predict_again(EngineParts& parts);

// To look at the disk during a load that was planned, since what it did before loading was a moment's. Nothing
// otherwise.
std::optional<DiskLooks> disk_looks(const EngineParts& parts);
// What they saw is what predictions use from here on.
void adopt_disk(EngineParts& parts, const DiskLooks& looks);

// What was to stream fits after all: the plan becomes one for a resident model on the same devices, or none.
void plan_resident_instead(EngineParts& parts);

// --- load_context.cpp; make_context() is declared in llama_engine.h

// Of all sequences together.
uint32_t context_tokens(const EngineParts& parts);

// Fills parts.info.
void describe(EngineParts& parts);

}  // namespace spillway
