// SPDX-License-Identifier: MIT
#include "cli/serve_forecast.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "cli/adapter_options.h"
#include "cli/current_profile.h"
#include "cli/plan/plan_machine.h"
#include "cli/projector_options.h"
#include "engine/auto_plan.h"
#include "engine/correction_store.h"
#include "engine/load_budget.h"
#include "model/gguf_model.h"
#include "plan/context_choice.h"

namespace spillway {
namespace {

class Forecasts {
 public:
  explicit Forecasts(const ForecastOptions& options) : options_(options) {}

  Result<Forecast> of(const ForecastRequest& asked) {
    ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(asked.path));
    const std::vector<Correction> corrections = load_corrections();
    PlanRequest request;
    request.model = &model;
    request.corrections = &corrections;
    request.ram_bytes = budget_bytes_for(options_.ram_bytes);
    request.mode = options_.mode;
    LoadOptions load;
    load.mode = options_.mode;
    load.ram_bytes = options_.ram_bytes;
    load.kernels = options_.kernels;
    ASSIGN_OR_RETURN(request.kernels, kernels_for(model, load));
    request.may_use_page_cache = options_.ram_bytes == 0 || request.ram_bytes < options_.ram_bytes;
    request.cache = options_.cache_is_optional ? nearest_cache_format(model, options_.cache) : options_.cache;
    request.n_seq = options_.n_parallel;
    request.shared_context = false;
    request.swa_full = options_.swa_full;
    request.n_ubatch = options_.n_ubatch;
    request.gpu_memory_bytes = options_.gpu_memory_bytes;
    std::vector<LoraAdapter> adapters;
    for (const std::string& path : asked.adapter_paths) adapters.push_back({.path = path});
    ASSIGN_OR_RETURN(request.adapter_bytes, adapter_bytes(adapters, model));
    ASSIGN_OR_RETURN(request.projector_bytes, projector_bytes(asked.projector_path));
    ASSIGN_OR_RETURN(MachineProfile machine, machine_for(asked, request));
    const std::vector<std::string>& named = options_.device_names;
    std::erase_if(machine.devices, [&](const DeviceFacts& device) {
      return !named.empty() && std::find(named.begin(), named.end(), device.name) == named.end();
    });
    request.machine = &machine;
    ASSIGN_OR_RETURN(const ContextChoice choice, plan_with_context(request, asked.n_ctx));
    const Plan& plan = choice.plan;
    return Forecast{.mode = mode_name(plan.mode),
                    .why = plan.why,
                    .tok_per_s = plan.prediction.decode_tok_per_s,
                    .load_s = plan.prediction.load_s,
                    .bytes_read_per_token = plan.prediction.bytes_read_per_token,
                    .weights_bytes = model.weight_bytes(),
                    .memory_bytes = request.ram_bytes};
  }

 private:
  // One at a time measures; the others wait, and find what it found.
  Result<MachineProfile> machine_for(const ForecastRequest& asked, const PlanRequest& request) {
    if (auto kept = kept_profile_for(asked.path)) return std::move(*kept);
    const MutexLock lock(mutex_);
    if (const auto found = measured_.find(asked.path); found != measured_.end()) return found->second;
    if (!asked.may_measure) return error(Code::kBusy, "this machine is measured when nobody computes");
    ASSIGN_OR_RETURN(PlanMachine machine, PlanMachine::open("", asked.path));
    machine.spare_memory();
    return measured_.emplace(asked.path, machine.for_model(*request.model, request)).first->second;
  }

  const ForecastOptions options_;
  Mutex mutex_;
  std::map<std::string, MachineProfile> measured_ GUARDED_BY(mutex_);  // by path: another disk, another type of weights
};

}  // namespace

Forecaster make_forecaster(const ForecastOptions& options) {
  // Shared by the copies of the function.
  const auto forecasts = std::make_shared<Forecasts>(options);
  return [forecasts](const ForecastRequest& request) { return forecasts->of(request); };
}

}  // namespace spillway
