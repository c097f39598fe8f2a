// SPDX-License-Identifier: MIT
// What `spillway plan` and `spillway inspect` print: the model, the plan, what it costs and what lost, as a table and
// as JSON. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cli/report_text.h"
#include "hw/machine_profile.h"
#include "model/gguf_model.h"
#include "plan/cache_offer.h"
#include "plan/model_facts.h"
#include "plan/model_need.h"
#include "plan/planner.h"

namespace spillway {

// What of a model is on a server and not here, when its header alone was read.
struct RemoteFacts {
  std::string name, file;                       // `file`: in a repository; may be empty
  uint64_t size_bytes = 0, download_bytes = 0;  // with the projector
  std::string projector_file = {};              // as `file`
};

struct PlanReport {
  const GgufModel* model = nullptr;
  const MachineProfile* machine = nullptr;
  const PlanRequest* request = nullptr;
  const Plan* plan = nullptr;
  const RemoteFacts* remote = nullptr;  // of a model that is not here
  const CacheOffer* offer = nullptr;    // a choice that the user has; may be null
  bool all_tensors = false;
};

std::string model_table(const GgufModel& model, bool all_tensors, const RemoteFacts* remote = nullptr);
std::string model_json(const GgufModel& model, bool all_tensors, const RemoteFacts* remote = nullptr);
std::string plan_table(const PlanReport& report);
std::string plan_json(const PlanReport& report);

// "decode_tok_per_s" and so on.
nlohmann::ordered_json prediction_values(const Prediction& prediction);

}  // namespace spillway
