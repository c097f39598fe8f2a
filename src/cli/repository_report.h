// SPDX-License-Identifier: MIT
// What `spillway plan hf.co/USER/REPO` prints: every model of a repository with what it would do here, and the best
// that is fast enough, as a table and as JSON. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "cli/plan/plan_report.h"
#include "hw/machine_profile.h"
#include "plan/planner.h"

namespace spillway {

// One model of a repository with its plan, or why there is none.
struct PlannedChoice {
  RemoteFacts remote;
  std::string wanted;          // what a name asks for it by: "Q4_K_M"
  double bits_per_weight = 0;  // 0: its header could not be read
  Result<Plan> plan;
};

struct RepositoryReport {
  std::string repository;  // "hf.co/me/it-GGUF"
  const MachineProfile* machine = nullptr;
  std::vector<std::string> types;  // of weights, whose figures are shown
  uint64_t n_ctx = 0;              // of all sequences together
  uint32_t n_seq = 1;
  uint64_t n_prompt = 0;  // of the prompt whose first token of an answer is predicted
  double asked_tok_per_s = 0;
  std::vector<PlannedChoice> choices;  // smallest first
};

// The index of the one with most bits for each weight among those that decode fast enough; the fastest where none does,
// and `holds` is false then. None where nothing could be planned.
struct BestChoice {
  size_t index = 0;
  bool holds = false;
};
std::optional<BestChoice> best_choice(const RepositoryReport& report);

std::string repository_table(const RepositoryReport& report);
std::string repository_json(const RepositoryReport& report);

}  // namespace spillway
