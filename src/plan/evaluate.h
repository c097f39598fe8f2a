// SPDX-License-Identifier: MIT
// One candidate: a chain through homes and a mode of the host's part, as a plan with its prediction. Pure.
#pragma once

#include <string>

#include "plan/stages.h"

namespace spillway {

enum class ExpertCache {
  kNone,
  kOnDevices,  // what devices have left caches experts that the host keeps in memory
};

struct Evaluated {
  bool possible = false;
  std::string why_not;
  uint64_t memory_bytes_min = 0;  // when it is memory that lacks
  Chain chain;
  ExpertCache cache = ExpertCache::kNone;
  Plan plan;  // without `why`, `others` and `doubts`

  double request_s() const { return plan.prediction.request_s; }
};

// In full passes.
double request_seconds(const Prediction& prediction, uint64_t n_prompt, uint64_t n_answer);

Evaluated evaluate(const PlanBasis& basis, const Chain& chain, Mode mode, ExpertCache cache = ExpertCache::kNone);

}  // namespace spillway
