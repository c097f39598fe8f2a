// SPDX-License-Identifier: MIT
#include "engine/engine_model.h"

#include <fmt/format.h>

#include <utility>

#include "plan/model_facts.h"

namespace spillway {
namespace {

// And what the decision's plan predicts, where that is what was loaded.
Placement placement_by(const MappedModel& mapped, const WeightsInMemory* weights, const Decision& decision,
                       const std::string& why) {
  Placement placement;
  if (weights != nullptr) placement = placement_of(weights->layout, decision.mode, why);
  placement.mode = decision.mode;
  placement.why = why;
  placement.kernels = mapped.kernels;
  placement.active_bytes = model_facts(mapped.request.gguf).active_bytes;
  if (!decision.plan || decision.plan->mode != decision.mode) return placement;
  const Plan& plan = *decision.plan;
  placement.predicted_tok_per_s = plan.prediction.decode_tok_per_s;
  placement.bytes_read_per_token = plan.prediction.bytes_read_per_token;
  placement.predicted_prefill_tok_per_s = plan.prediction.prefill_tok_per_s;
  placement.prefill_pass_tokens = plan.n_ubatch;
  if (!mapped.request.options.mode) placement.why = plan.why;
  return placement;
}

// Relays have ports of this machine, which mean nothing to a user. Whether there was any.
bool put_in_place_of(const std::string& endpoint, const std::string& address, std::string& text) {
  bool any = false;
  for (size_t at = 0; (at = text.find(endpoint, at)) != std::string::npos; at += address.size()) {
    text.replace(at, endpoint.size(), address);
    any = true;
  }
  return any;
}

MemoryReport memory_by(const LoadRequest& request, const WeightsInMemory* weights, const Decision& decision,
                       uint64_t other_bytes) {
  MemoryReport memory;
  memory.budget_bytes = request.budget_bytes;
  memory.weight_bytes = request.weight_bytes;
  memory.device_bytes = decision.device_bytes;
  memory.other_bytes = other_bytes;
  memory.other_bytes_planned = decision.other_bytes_planned;
  memory.reserve_bytes = decision.reserve_bytes;
  if (weights == nullptr) {
    const bool resident = decision.mode == Mode::kResident;
    memory.pinned_bytes = resident ? host_weight_bytes(request.gguf, decision.on_device) : 0;
    return memory;
  }
  memory.pinned_bytes = weights->layout.pinned_bytes + weights->layout.buffer_bytes;
  memory.pool_bytes = weights->layout.pool_bytes;
  memory.ring_pool_bytes = weights->layout.ring_pool_bytes;
  memory.rows_bytes = weights->layout.rows_bytes;
  return memory;
}

}  // namespace

Result<void> MappedModel::check_workers() const {
  for (const auto& worker : workers) RETURN_IF_ERROR(worker->check());
  return {};
}

Failure MappedModel::blame(const Status& why) const {
  for (const auto& worker : workers) worker->doubt();
  for (const auto& worker : workers) RETURN_IF_ERROR(worker->check_room());
  std::string message = why.message();
  bool is_named = false;
  for (const auto& worker : workers) is_named |= put_in_place_of(worker->endpoint(), worker->address(), message);
  return error(is_named ? Code::kUnavailable : why.code(), std::move(message));
}

Failure MappedModel::blame_file(const Status& why) const {
  std::string addresses;
  for (const auto& worker : workers) addresses += (addresses.empty() ? "" : ", ") + worker->address();
  if (addresses.empty()) return Failure(why);
  return blame(
      why.with_message(fmt::format("{}; or it is worker {} that is wrong: try it without", why.message(), addresses)));
}

EngineModel make_engine_model(std::unique_ptr<const MappedModel> mapped, std::unique_ptr<const WeightsInMemory> weights,
                              Measured measured, Decision decision, const std::string& why, uint64_t other_bytes) {
  EngineModel model;
  model.placement = placement_by(*mapped, weights.get(), decision, why);
  model.memory = memory_by(mapped->request, weights.get(), decision, other_bytes);
  model.mapped = std::move(mapped);
  model.weights = std::move(weights);
  model.measured = std::move(measured);
  model.decision = std::move(decision);
  return model;
}

}  // namespace spillway
