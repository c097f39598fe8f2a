// SPDX-License-Identifier: MIT
// How many tokens of context a model gets where nobody names a number. Pure.
//
// What it was trained for, as far as the plan has room without losing more than a tenth of its speed against a context
// of 4096 tokens, in this memory or in less: more memory never makes it smaller. An agent's preamble is 6,000 to 13,000
// tokens, so 16,384 are worth more: up to half of the speed.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "plan/planner.h"

namespace spillway {

// A model that was trained for as many has at least so many, or does not run.
inline constexpr uint64_t kContextFloor = 4096;
// Enough for agents.
inline constexpr uint64_t kContextWanted = 16384;

// The smallest that is chosen where nobody names one: what does not fit with it is refused.
uint64_t least_context(const GgufModel& model);

struct ContextChoice {
  Plan plan;
  uint64_t n_ctx = 0;          // tokens of each sequence, or of all where they share them
  uint64_t n_ctx_default = 0;  // what was chosen, whatever was asked for at least; 0: a number was named
  std::string why;             // "all that the model was trained for"; empty where a number was named
};

// The plan of `request`, whose n_ctx is left aside, with so many tokens for each sequence: `n_ctx` where that is not 0,
// else what is chosen, and at least `n_ctx_min`.
//   errors of make_plan: of a context of kContextFloor tokens where one was to be chosen
Result<ContextChoice> plan_with_context(const PlanRequest& request, uint64_t n_ctx, uint64_t n_ctx_min = 0);

}  // namespace spillway
