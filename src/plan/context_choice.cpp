// SPDX-License-Identifier: MIT
#include "plan/context_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace spillway {
namespace {

// A model whose file does not say what it was trained for is not given more by itself.
constexpr uint64_t kContextUntold = kContextFloor;
// Time for a request, over that with the smallest context.
constexpr double kSlowerMax = 1 / 0.9, kSlowerForAgentsMax = 2;
// Of the memory that the weights leave: other models, and other programs, want some too.
constexpr double kRoomShare = 0.5;

// More than any context; a request for it is refused by the need of a model, and sums do not overflow.
constexpr uint64_t kContextAbsurd = 1ull << 31;

PlanRequest with_context(const PlanRequest& request, uint64_t n_ctx) {
  PlanRequest other = request;
  n_ctx = std::min(n_ctx, kContextAbsurd);
  other.n_ctx = request.shared_context ? n_ctx : n_ctx * request.n_seq;
  other.n_prompt = std::min(request.n_prompt, n_ctx);
  return other;
}

// What is weighed, the smallest first: powers of two above the floor, and the end.
std::vector<uint64_t> sizes(uint64_t n_trained) {
  std::vector<uint64_t> all;
  for (uint64_t n = 2 * kContextFloor; n < n_trained; n *= 2) all.push_back(n);
  if (n_trained > kContextFloor) all.push_back(n_trained);
  return all;
}

bool leaves_room(const Plan& plan) {
  if (plan.mode != Mode::kResident) return true;  // then speed is what it costs
  const HostUse& host = plan.host;
  const uint64_t taken_bytes = host.pinned_bytes + host.program_bytes + host.devices_bytes;
  const uint64_t left_bytes = host.memory_bytes - std::min(host.memory_bytes, taken_bytes);
  return static_cast<double>(host.kv_bytes + host.compute_bytes) <= kRoomShare * static_cast<double>(left_bytes);
}

// The largest size for which `accepts` a plan, by halving: what has room for more has room for less.
std::optional<std::pair<uint64_t, Plan>> largest(const PlanRequest& request, const std::vector<uint64_t>& all,
                                                 const std::function<bool(uint64_t, const Plan&)>& accepts) {
  std::optional<std::pair<uint64_t, Plan>> found;
  size_t begin = 0, end = all.size();
  while (begin < end) {
    const size_t middle = end == all.size() ? end - 1 : (begin + end) / 2;  // the largest is right as a rule
    auto plan = make_plan(with_context(request, all[middle]));
    if (plan && accepts(all[middle], *plan)) {
      found.emplace(all[middle], std::move(*plan));
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return found;
}

Result<ContextChoice> choose(const PlanRequest& request) {
  const uint64_t told = request.model != nullptr ? request.model->n_ctx_train : 0;
  const uint64_t n_trained = std::min(told > 0 ? told : kContextUntold, kContextAbsurd);
  const uint64_t n_floor = std::min(n_trained, kContextFloor);
  ASSIGN_OR_RETURN(Plan floor, make_plan(with_context(request, n_floor)));
  ContextChoice choice{.plan = {}, .n_ctx = n_floor, .n_ctx_default = n_floor, .why = {}};
  const double floor_s = floor.prediction.request_s;
  auto found = largest(request, sizes(n_trained), [&](uint64_t n_ctx, const Plan& plan) {
    const double slower_max = n_ctx <= kContextWanted ? kSlowerForAgentsMax : kSlowerMax;
    return plan.prediction.request_s <= slower_max * floor_s && (n_ctx <= kContextWanted || leaves_room(plan));
  });
  if (found) choice.n_ctx = choice.n_ctx_default = found->first;
  choice.plan = found ? std::move(found->second) : std::move(floor);
  if (told == 0)
    choice.why = "its file does not say what the model was trained for";
  else if (choice.n_ctx == n_trained)
    choice.why = "all that the model was trained for";
  else
    choice.why = fmt::format("of {} that the model was trained for, as many as memory has room for at about full speed",
                             n_trained);
  return choice;
}

}  // namespace

Result<ContextChoice> plan_with_context(const PlanRequest& request, uint64_t n_ctx, uint64_t n_ctx_min) {
  if (n_ctx > 0) {
    ASSIGN_OR_RETURN(Plan plan, make_plan(with_context(request, n_ctx)));
    return ContextChoice{.plan = std::move(plan), .n_ctx = n_ctx, .n_ctx_default = 0, .why = {}};
  }
  ASSIGN_OR_RETURN(ContextChoice choice, choose(request));
  if (choice.n_ctx >= n_ctx_min) return choice;
  ASSIGN_OR_RETURN(choice.plan, make_plan(with_context(request, n_ctx_min)));
  choice.n_ctx = n_ctx_min;
  return choice;
}

}  // namespace spillway
