// SPDX-License-Identifier: MIT
#include "plan/context_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/saturating_sub.h"

namespace spillway {
namespace {

// A model whose file does not say what it was trained for is not given more by itself.
constexpr uint64_t kContextUntold = kContextFloor;
// Time for a request, over that with the smallest context.
constexpr double kSlowerMax = 1 / 0.9, kSlowerForAgentsMax = 2;
// Of the memory that the weights leave: other models, and other programs, want some too.
constexpr double kRoomShare = 0.5;

// No model has a context in less.
constexpr uint64_t kMemoryMin = 16 * MiB;

// More than any context; a request for it is refused by the need of a model, and sums do not overflow.
constexpr uint64_t kContextAbsurd = 1ull << 31;

PlanRequest with_context(const PlanRequest& request, uint64_t n_ctx) {
  PlanRequest other = request;
  n_ctx = std::min(n_ctx, kContextAbsurd);
  other.n_ctx = request.shared_context ? n_ctx : n_ctx * request.n_seq;
  other.n_prompt = std::min(request.n_prompt, n_ctx);
  other.n_prompt_long = std::min(request.n_prompt_long, n_ctx);
  return other;
}

// What is weighed, the smallest first: powers of two above the floor, and the end.
std::vector<uint64_t> sizes(uint64_t n_trained) {
  std::vector<uint64_t> all;
  for (uint64_t n = 2 * kContextFloor; n < n_trained; n *= 2) all.push_back(n);
  if (n_trained > kContextFloor) all.push_back(n_trained);
  return all;
}

// `floor`: with the smallest context. Weights that would stay are not sent to the disk for a larger one; of those that
// stream anyway, speed is what it costs.
bool leaves_room(const Plan& plan, const Plan& floor) {
  if (plan.mode != Mode::kResident) return floor.mode != Mode::kResident;
  const HostUse& host = plan.host;
  const uint64_t taken_bytes = host.pinned_bytes + host.program_bytes + host.devices_bytes;
  const uint64_t left_bytes = saturating_sub(host.memory_bytes, taken_bytes);
  return static_cast<double>(host.kv_bytes + host.compute_bytes) <= kRoomShare * static_cast<double>(left_bytes);
}

// The largest size for which `accepts` a plan, by halving: what has room for more has room for less.
std::optional<uint64_t> largest(const PlanRequest& request, const std::vector<uint64_t>& all,
                                const std::function<bool(uint64_t, const Plan&)>& accepts) {
  std::optional<uint64_t> found;
  size_t begin = 0, end = all.size();
  while (begin < end) {
    const size_t middle = end == all.size() ? end - 1 : (begin + end) / 2;  // the largest is right as a rule
    const auto plan = make_plan(with_context(request, all[middle]));
    if (plan && accepts(all[middle], *plan)) {
      found = all[middle];
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return found;
}

// Memory in which contexts are weighed: four sizes in each doubling, the largest first.
std::vector<uint64_t> memory_sizes(uint64_t bytes_max) {
  std::vector<uint64_t> all;
  for (uint64_t octave = std::bit_floor(std::max<uint64_t>(bytes_max, 1)); octave >= kMemoryMin; octave /= 2)
    for (const uint64_t quarters : {7, 6, 5, 4})
      if (octave / 4 * quarters <= bytes_max) all.push_back(octave / 4 * quarters);
  return all;
}

// The largest of `all` that is worth what it costs against `floor`, of the same memory.
std::optional<uint64_t> worth_it(const PlanRequest& request, const Plan& floor, const std::vector<uint64_t>& all) {
  const double floor_s = floor.prediction.request_s;
  return largest(request, all, [&](uint64_t n_ctx, const Plan& plan) {
    const double slower_max = n_ctx <= kContextWanted ? kSlowerForAgentsMax : kSlowerMax;
    return plan.prediction.request_s <= slower_max * floor_s && (n_ctx <= kContextWanted || leaves_room(plan, floor));
  });
}

// What a context costs is relative to the smallest one, which more memory makes faster, until it streams nothing. So
// what is worth it in some memory is right in more of it as well: it is no slower there. And memory is weighed at sizes
// that do not depend on how much there is.
uint64_t choose_tokens(const PlanRequest& request, uint64_t n_floor, uint64_t memory_bytes,
                       const std::vector<uint64_t>& all) {
  uint64_t n_ctx = n_floor;
  std::vector<uint64_t> larger = all;
  for (const uint64_t bytes : memory_sizes(memory_bytes)) {
    if (larger.empty()) break;
    PlanRequest in_less = request;
    in_less.ram_bytes = bytes;
    const auto floor = make_plan(with_context(in_less, n_floor));
    if (!floor) break;
    const auto found = worth_it(in_less, *floor, larger);
    if (!found) continue;
    n_ctx = *found;
    std::erase_if(larger, [n_ctx](uint64_t n) { return n <= n_ctx; });
  }
  return n_ctx;
}

uint64_t trained_tokens(uint64_t told) { return std::min(told > 0 ? told : kContextUntold, kContextAbsurd); }

Result<ContextChoice> choose(const PlanRequest& request) {
  const uint64_t told = request.model != nullptr ? request.model->n_ctx_train : 0;
  const uint64_t n_trained = trained_tokens(told);
  const uint64_t n_floor = std::min(n_trained, kContextFloor);
  ASSIGN_OR_RETURN(Plan floor, make_plan(with_context(request, n_floor)));
  ContextChoice choice{.plan = {}, .n_ctx = n_floor, .n_ctx_default = n_floor, .why = {}};
  const uint64_t n_ctx = choose_tokens(request, n_floor, floor.host.memory_bytes, sizes(n_trained));
  auto plan = make_plan(with_context(request, n_ctx));
  if (plan) choice.n_ctx = choice.n_ctx_default = n_ctx;
  choice.plan = plan ? std::move(*plan) : std::move(floor);
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

uint64_t least_context(const GgufModel& model) { return std::min(trained_tokens(model.n_ctx_train), kContextFloor); }

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
