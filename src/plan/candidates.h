// SPDX-License-Identifier: MIT
// Which ways to run a model are weighed: everything on the CPU, in memory, streamed or mapped; and splits over devices,
// with the host's part in memory or streamed. Pure.
#pragma once

#include <vector>

#include "plan/evaluate.h"
#include "plan/split_problem.h"

namespace spillway {

// Of each name the best one, in the order in which they were first tried: what is simpler comes first.
class Candidates {
 public:
  // Tries all that passes of the basis' length allow.
  void try_all(const PlanBasis& basis);

  const std::vector<Evaluated>& all() const { return all_; }

 private:
  bool try_resident(const PlanBasis& basis, size_t prompt_home);
  void try_streamed(const PlanBasis& basis);
  void try_expert_cache(const PlanBasis& basis);
  bool try_split(const PlanBasis& basis, const SplitTerms& terms, Mode mode);
  void keep(Evaluated one);

  std::vector<Evaluated> all_;
};

}  // namespace spillway
