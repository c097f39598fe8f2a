// SPDX-License-Identifier: MIT
#include "plan/plan_words.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace spillway {

std::string reason(const PlanRequest& request, const Plan& plan) {
  const GgufModel& model = *request.model;
  const std::string weights = format_bytes(model.weight_bytes()), memory = format_bytes(plan.host.memory_bytes);
  if (request.mode) return "asked for";
  if (plan.mode == Mode::kMmap)
    return fmt::format("{} of weights do not fit into {}, and the page cache is predicted to be fastest", weights,
                       memory);
  const bool on_devices = plan.n_gpu_layers > 0;
  if (plan.mode == Mode::kStream)
    return fmt::format("{} of weights do not fit{}; {} stay and the rest is read ahead", weights,
                       on_devices ? " into memory and devices" : fmt::format(" into {}", memory),
                       format_bytes(model.weight_bytes() - plan.host.streamed_bytes - plan.host.rows_bytes));
  if (!on_devices) return fits_words(model.weight_bytes(), plan.host.memory_bytes);
  if (plan.n_gpu_layers == model.n_layer + 1 && !plan.experts_on_host)
    return fmt::format("all {} of weights fit on the {}", weights, plan.devices.size() > 1 ? "devices" : "device");
  return fmt::format("{} of {} layers fit on devices{}", plan.n_gpu_layers, model.n_layer + 1,
                     plan.experts_on_host ? ", some without their experts" : "");
}

std::string fits_words(uint64_t weight_bytes, uint64_t memory_bytes) {
  return fmt::format("{} of weights fit into {}", format_bytes(weight_bytes), format_bytes(memory_bytes));
}

std::string why_lost(const Evaluated& one, const Evaluated& best) {
  const double times = one.request_s() / best.request_s();
  if (times < 1)
    return best.plan.mode == Mode::kResident && best.plan.n_gpu_layers == 0 ? "what fits into memory stays there"
                                                                            : "another mode was asked for";
  return fmt::format("{} times the time for a request; {}",
                     times < 1.1 ? fmt::format("{:.3f}", times) : fmt::format("{:.1f}", times),
                     one.plan.prediction.decode_bound);
}

Status why_nothing(const PlanBasis& basis, uint64_t ram_bytes, uint64_t least_bytes) {
  const PlanRequest& request = basis.request;
  return budget_too_small({.ram_bytes = ram_bytes,
                           .least_bytes = least_bytes,
                           .held_bytes = request.held_bytes,
                           .weight_bytes = basis.model.weight_bytes(),
                           .n_ctx = request.shared_context ? request.n_ctx : request.n_ctx / request.n_seq,
                           .n_contexts = request.shared_context ? 1 : request.n_seq,
                           .mode = request.mode});
}

}  // namespace spillway
