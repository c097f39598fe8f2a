// SPDX-License-Identifier: MIT
// Each candidate is costed with ubatches of several sizes, since a larger one hides reads behind more computing and
// takes memory that weights could have. The least time for one request wins.
#include "plan/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "plan/candidates.h"
#include "plan/homes.h"
#include "plan/plan_words.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

constexpr uint64_t kRamBytesMax = 1ull << 50;
// Sizes that are tried for a message, each larger by what the one before lacked: the second one does as a rule.
constexpr int kLeastTries = 64;

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

// Buffers that are tried together, while the larger ones leave no room for any weights: a slow pass is better than
// none.
struct Buffers {
  std::vector<uint32_t> n_ubatches;
  uint32_t n_outputs_max;
  bool with_caches;
};
const std::array<Buffers, 4> kBuffers = {
    {{{128, 256, 512}, UINT32_MAX, true}, {{64}, 4, false}, {{32}, 1, false}, {{16}, 1, false}}};

Result<uint64_t> budget(const PlanRequest& request) {
  const uint64_t total = request.machine->ram_bytes_total;
  uint64_t ram_bytes = request.ram_bytes;
  if (ram_bytes == 0) {
    if (total == 0)
      return error(Code::kInvalidArgument, "the profile does not say how much memory the machine has; give --ram");
    const auto share = static_cast<uint64_t>(kElsewhereHeadroomShare * static_cast<double>(total));
    return total - std::min(total / 2, std::max(kElsewhereHeadroomBytesMin, share));
  }
  if (ram_bytes > kRamBytesMax)
    return error(Code::kInvalidArgument,
                 fmt::format("a memory of {} is not possible; give at most 1 PiB", format_bytes(ram_bytes)));
  return ram_bytes;
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

// What some buffers leave room for.
struct Tried {
  PlanRequest request;  // with those buffers; what was evaluated refers to it
  Candidates candidates;
  std::optional<PlanBasis> basis;
  const Evaluated* best = nullptr;
};

// The request with buffers of one kind, and the lengths of its passes.
PlanRequest with_buffers(const PlanRequest& request, const Buffers& buffers) {
  PlanRequest smaller = request;
  smaller.n_outputs = std::max(std::min(request.n_outputs, buffers.n_outputs_max), request.n_seq);
  if (!buffers.with_caches) smaller.cache_bytes = 0;
  return smaller;
}

Result<std::unique_ptr<Tried>> try_buffers(const PlanRequest& request, const Homes& homes, uint64_t ram_bytes,
                                           const Buffers& buffers) {
  auto tried = std::make_unique<Tried>(Tried{.request = with_buffers(request, buffers), .candidates = {}, .basis = {}});
  const uint64_t beside_bytes = tried->request.held_bytes + tried->request.cache_bytes;
  const std::vector<uint32_t> asked = {request.n_ubatch};
  for (const uint32_t n_ubatch : request.n_ubatch > 0 ? asked : buffers.n_ubatches) {
    ASSIGN_OR_RETURN(PlanBasis next,
                     plan_basis(tried->request, homes, ram_bytes - std::min(ram_bytes, beside_bytes), n_ubatch));
    tried->basis.emplace(std::move(next));
    tried->candidates.try_all(*tried->basis);
  }
  tried->best = fastest(tried->candidates.all(), request.mode);
  return tried;
}

// Of what was tried and had no room, the least memory that it asked for; 0: it was not memory that lacked.
uint64_t lacking_bytes(const Tried& tried) {
  uint64_t least_bytes = 0;
  for (const Evaluated& one : tried.candidates.all()) {
    if (one.memory_bytes_min == 0 || (tried.request.mode && one.plan.mode != *tried.request.mode)) continue;
    if (least_bytes == 0 || one.memory_bytes_min < least_bytes) least_bytes = one.memory_bytes_min;
  }
  return least_bytes;
}

// The least memory for which there is a plan, with the smallest buffers: it is tried, so that whoever takes the message
// at its word is not refused again. 0: no memory would do.
uint64_t least_bytes(const PlanRequest& request, const Homes& homes, const Tried& refused) {
  const Tried* last = &refused;
  std::unique_ptr<Tried> next;
  uint64_t bytes = 0;
  for (int n = 0; n < kLeastTries; ++n) {
    const uint64_t lacking = lacking_bytes(*last);
    if (lacking == 0) return 0;
    bytes = std::max(round_up(lacking + request.held_bytes, MiB), bytes + MiB);
    auto tried = try_buffers(request, homes, bytes, kBuffers.back());
    if (!tried) return 0;
    next = std::move(*tried);
    if (next->best != nullptr) return bytes;
    last = next.get();
  }
  return 0;
}

}  // namespace

Result<Plan> make_plan(const PlanRequest& request) {
  // 1. What there is.
  RETURN_IF_ERROR(check(request));
  ASSIGN_OR_RETURN(const uint64_t ram_bytes, budget(request));
  const Homes homes = homes_of(*request.machine, request.gpu_memory_bytes);

  // 2. What could be done with it, with as much beside the weights as there is room for.
  std::unique_ptr<Tried> tried;
  for (const Buffers& buffers : kBuffers) {
    ASSIGN_OR_RETURN(tried, try_buffers(request, homes, ram_bytes, buffers));
    if (tried->best != nullptr) break;
  }
  if (tried->best == nullptr)
    return tl::unexpected<Status>(why_nothing(*tried->basis, ram_bytes, least_bytes(request, homes, *tried)));

  // 3. The fastest, and what the others lack.
  const Evaluated* best = tried->best;
  Plan plan = best->plan;
  plan.n_ctx = request.n_ctx;
  plan.n_outputs = tried->request.n_outputs;
  plan.cache_bytes = tried->request.cache_bytes;
  plan.others = losers(tried->candidates.all(), *best);
  plan.why = reason(request, plan);
  plan.kernels = plan.n_gpu_layers > 0 ? Kernels::kPlain : request.kernels;
  plan.doubts = homes.doubts;
  if (plan.prediction.correction != 1)
    plan.doubts.push_back(
        fmt::format("corrected by {:.2f}: an earlier run here was that much off", plan.prediction.correction));
  return plan;
}

}  // namespace spillway
