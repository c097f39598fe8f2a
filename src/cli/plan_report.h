// SPDX-License-Identifier: MIT
// What `spillway plan` and `spillway inspect` print: the model, the plan, what it costs and what lost, as a table and
// as JSON. Pure.
#pragma once

#include <string>

#include "hw/machine_profile.h"
#include "model/gguf_model.h"
#include "plan/model_facts.h"
#include "plan/model_need.h"
#include "plan/planner.h"

namespace spillway {

struct PlanReport {
  const GgufModel* model = nullptr;
  const MachineProfile* machine = nullptr;
  const PlanRequest* request = nullptr;
  const Plan* plan = nullptr;
  bool all_tensors = false;
};

std::string model_table(const GgufModel& model, bool all_tensors);
std::string model_json(const GgufModel& model, bool all_tensors);
std::string plan_table(const PlanReport& report);
std::string plan_json(const PlanReport& report);

}  // namespace spillway
