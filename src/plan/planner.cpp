// SPDX-License-Identifier: MIT
// Each candidate is costed with ubatches of several sizes, since a larger one hides reads behind more computing and
// takes memory that weights could have. The least time for one request wins.
#include "plan/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/bytes.h"
#include "plan/candidates.h"
#include "plan/homes.h"
#include "plan/plan_words.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

constexpr uint64_t kRamBytesMin = 64 * MiB;
constexpr uint64_t kRamBytesMax = 1ull << 50;
constexpr std::array<uint32_t, 3> kUbatches = {128, 256, 512};

Result<void> check(const PlanRequest& request) {
  if (request.model == nullptr || request.machine == nullptr || request.model->tensors.empty())
    return error(Code::kInvalidArgument, "a plan needs a model and a machine");
  if (request.model->n_layer > request.model->tensors.size())
    return error(Code::kCorrupt, fmt::format("the model claims {} layers and has {} tensors; download it again",
                                             request.model->n_layer, request.model->tensors.size()));
  if (request.n_prompt == 0 || request.n_answer == 0 || request.n_prompt > (1u << 30) || request.n_answer > (1u << 30))
    return error(Code::kInvalidArgument, "a plan needs a prompt and an answer of at least one token");
  if (request.gpu_memory_bytes > kRamBytesMax)
    return error(Code::kInvalidArgument, fmt::format("a device with {} is not possible; give at most 1 PiB",
                                                     format_bytes(*request.gpu_memory_bytes)));
  return {};
}

Result<uint64_t> budget(const PlanRequest& request) {
  const uint64_t total = request.machine->ram_bytes_total;
  if (request.ram_bytes == 0) {
    if (total == 0)
      return error(Code::kInvalidArgument, "the profile does not say how much memory the machine has; give --ram");
    const auto share = static_cast<uint64_t>(kElsewhereHeadroomShare * static_cast<double>(total));
    return total - std::min(total / 2, std::max(kElsewhereHeadroomBytesMin, share));
  }
  if (request.ram_bytes < kRamBytesMin || request.ram_bytes > kRamBytesMax)
    return error(request.ram_bytes < kRamBytesMin ? Code::kOutOfBudget : Code::kInvalidArgument,
                 fmt::format("a memory of {} is not possible; give 64 MiB to 1 PiB", format_bytes(request.ram_bytes)));
  return request.ram_bytes;
}

// What fits does not stream: equal costs go to the simpler mode, which comes first. nullptr: none is possible.
const Evaluated* fastest(const std::vector<Evaluated>& considered, std::optional<Mode> mode) {
  const Evaluated* best = nullptr;
  for (const Evaluated& one : considered) {
    if (!one.possible || (mode && one.plan.mode != *mode)) continue;
    if (best == nullptr || one.request_s() < best->request_s() * (1 - 1e-9)) best = &one;
  }
  return best;
}

// Possible ones first, the fastest of them in front.
std::vector<Candidate> losers(const std::vector<Evaluated>& considered, const Evaluated& best) {
  std::vector<Candidate> others;
  for (const Evaluated& one : considered) {
    if (&one == &best) continue;
    Candidate& other = others.emplace_back(
        Candidate{.name = one.plan.name, .possible = one.possible, .why_not = one.why_not, .prediction = {}});
    if (!one.possible) continue;
    other.prediction = one.plan.prediction;
    other.why_not = why_lost(one, best.request_s());
  }
  std::stable_sort(others.begin(), others.end(), [](const Candidate& a, const Candidate& b) {
    if (a.possible != b.possible) return a.possible;
    return a.possible && a.prediction.request_s < b.prediction.request_s;
  });
  return others;
}

}  // namespace

Result<Plan> make_plan(const PlanRequest& request) {
  // 1. What there is.
  RETURN_IF_ERROR(check(request));
  ASSIGN_OR_RETURN(const uint64_t ram_bytes, budget(request));
  const Homes homes = homes_of(*request.machine, request.gpu_memory_bytes);

  // 2. What could be done with it.
  std::vector<uint32_t> ubatches(kUbatches.begin(), kUbatches.end());
  if (request.n_ubatch > 0) ubatches = {request.n_ubatch};
  Candidates candidates;
  std::optional<PlanBasis> basis;
  for (const uint32_t n_ubatch : ubatches) {
    ASSIGN_OR_RETURN(PlanBasis next, plan_basis(request, homes, ram_bytes, n_ubatch));
    basis.emplace(std::move(next));
    candidates.try_all(*basis);
  }

  // 3. The fastest, and what the others lack.
  const Evaluated* best = fastest(candidates.all(), request.mode);
  if (best == nullptr) return tl::unexpected<Status>(why_nothing(*basis, candidates.all()));
  Plan plan = best->plan;
  plan.others = losers(candidates.all(), *best);
  plan.why = reason(request, plan);
  plan.kernels = plan.n_gpu_layers > 0 ? Kernels::kPlain : request.kernels;
  plan.doubts = homes.doubts;
  if (plan.prediction.correction != 1)
    plan.doubts.push_back(
        fmt::format("corrected by {:.2f}: an earlier run here was that much off", plan.prediction.correction));
  return plan;
}

}  // namespace spillway
