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
#include "base/saturating_sub.h"
#include "plan/candidates.h"
#include "plan/homes.h"
#include "plan/plan_words.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

constexpr uint64_t kRamBytesMax = 1ull << 50;
// LLAMA_MAX_LAYERS, which no header has: libllama loads no more. Ways over devices are as many as layers allow, each
// weighed with the layers again: 16,384 of a made-up file would be weighed for an hour, and a load waits for its plan.
constexpr uint64_t kLayersLoadedMax = 512;
// Sizes that are tried for a message, each larger by what the one before lacked: the second one does as a rule.
constexpr int kLeastTries = 64;

Result<void> check(const PlanRequest& request) {
  if (request.model == nullptr || request.machine == nullptr || request.model->tensors.empty())
    return error(Code::kInvalidArgument, "a plan needs a model and a machine");
  if (request.model->n_layer > request.model->tensors.size())
    return error(Code::kCorrupt, fmt::format("the model claims {} layers and has {} tensors; download it again",
                                             request.model->n_layer, request.model->tensors.size()));
  if (request.model->n_layer > kLayersLoadedMax)
    return error(Code::kUnsupported, fmt::format("the model claims {} layers, and libllama loads {} at most",
                                                 request.model->n_layer, kLayersLoadedMax));
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
using Ways = std::vector<Buffers>;

// In a dense model the length of a pass changes no bit from 128 tokens on, as prompts are cut (engine/prompt_parts.h):
// a longer pass reads the weights less often and takes memory from them. But K-quants compute a single row otherwise
// than several, and of a short pass an expert may get a single one; and a windowed cache is as long as its window and
// one pass, over which sums round otherwise. There passes have 512 tokens, as llama.cpp's have, whatever the budget, as
// long as that leaves room for any weights.
Ways ways_of(const PlanRequest& request, bool pass_changes_bits) {
  const std::vector<Buffers> scarce = {{{64}, 4, false}, {{32}, 1, false}, {{16}, 1, false}};
  Ways ways;
  if (pass_changes_bits) {
    ways = {{{kPassTokensUsual}, UINT32_MAX, true}, {{256}, UINT32_MAX, true}, {{128}, UINT32_MAX, true}};
  } else {
    ways = {{{128, 256, kPassTokensUsual}, UINT32_MAX, true}};
  }
  ways.insert(ways.end(), scarce.begin(), scarce.end());
  if (request.n_ubatch > 0)
    for (Buffers& way : ways) way.n_ubatches = {request.n_ubatch};
  return ways;
}

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

// What fits on the host is not read there again, whatever earlier runs say of either: they were at other times. Equal
// costs go to the simpler mode, which comes first. nullptr: none is possible.
const Evaluated* fastest(const std::vector<Evaluated>& considered, std::optional<Mode> mode) {
  const auto on_host = [](const Evaluated& one) { return one.plan.n_gpu_layers == 0; };
  const bool fits = std::any_of(considered.begin(), considered.end(), [&](const Evaluated& one) {
    return one.possible && on_host(one) && one.plan.mode == Mode::kResident;
  });
  const Evaluated* best = nullptr;
  for (const Evaluated& one : considered) {
    if (!one.possible || (mode && one.plan.mode != *mode)) continue;
    if (!mode && fits && on_host(one) && one.plan.mode != Mode::kResident) continue;
    if (best == nullptr || one.request_s() < best->request_s() * (1 - 1e-9)) best = &one;
  }
  return best;
}

// Possible ones first, the fastest of them in front.
std::vector<Candidate> losers(const std::vector<Evaluated>& considered, const Evaluated& best) {
  std::vector<Candidate> others;
  for (const Evaluated& one : considered) {
    if (one.plan.name == best.plan.name) continue;
    Candidate& other = others.emplace_back(
        Candidate{.name = one.plan.name, .possible = one.possible, .why_not = one.why_not, .prediction = {}});
    if (!one.possible) continue;
    other.prediction = one.plan.prediction;
    other.why_not = why_lost(one, best);
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
  std::unique_ptr<Evaluated> longer;  // with passes longer than usual
  const Evaluated* best = nullptr;    // of the candidates, or `longer`

  // Of a budget, what this model may have.
  uint64_t own_bytes(uint64_t ram_bytes) const {
    return saturating_sub(ram_bytes, request.held_bytes + request.cache_bytes);
  }
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
  auto tried = std::make_unique<Tried>();
  tried->request = with_buffers(request, buffers);
  for (const uint32_t n_ubatch : buffers.n_ubatches) {
    ASSIGN_OR_RETURN(PlanBasis next, plan_basis(tried->request, homes, tried->own_bytes(ram_bytes), n_ubatch));
    tried->basis.emplace(std::move(next));
    tried->candidates.try_all(*tried->basis);
  }
  tried->best = fastest(tried->candidates.all(), request.mode);
  return tried;
}

// The same with longer passes, where a long prompt is read that much faster and answers keep their speed: they take
// memory from the weights, and others wait longer for their end. A request's whole time would not do: where dense
// weights stream, each token of an answer costs as much as a pass, and a prompt of thousands of tokens is lost beside
// it.
Result<void> lengthen_passes(const Homes& homes, uint64_t ram_bytes, Tried& tried) {
  const PlanRequest& request = tried.request;
  const Evaluated& usual = *tried.best;
  const uint64_t n_max = std::min<uint64_t>({kPassTokensMax, request.n_prompt_long, request.n_ctx});
  for (uint32_t n = 2 * kPassTokensUsual; n <= n_max; n *= 2) {
    ASSIGN_OR_RETURN(const PlanBasis basis, plan_basis(request, homes, tried.own_bytes(ram_bytes), n));
    Evaluated longer = evaluate(basis, usual.chain, usual.plan.mode, usual.cache);
    const Prediction &p = longer.plan.prediction, &before = tried.best->plan.prediction;
    const double gain_min = tried.best == &usual ? kLongPassGainMin : kLongerPassGainMin;
    if (!longer.possible || p.prefill_tok_per_s < before.prefill_tok_per_s * (1 + gain_min) ||
        p.decode_tok_per_s < usual.plan.prediction.decode_tok_per_s * (1 - kLongPassLossMax))
      break;
    tried.longer = std::make_unique<Evaluated>(std::move(longer));
    tried.best = tried.longer.get();
  }
  return {};
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

// The least memory for which there is a plan, with the smallest buffers: it is tried, so that a user who takes the
// message at its word is not refused again. 0: no memory would do.
uint64_t least_bytes(const PlanRequest& request, const Homes& homes, const Buffers& smallest, const Tried& refused) {
  const Tried* last = &refused;
  std::unique_ptr<Tried> next;
  uint64_t bytes = 0;
  for (int n = 0; n < kLeastTries; ++n) {
    const uint64_t lacking = lacking_bytes(*last);
    if (lacking == 0) return 0;
    bytes = std::max(round_up(lacking + request.held_bytes, MiB), bytes + MiB);
    auto tried = try_buffers(request, homes, bytes, smallest);
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
  ASSIGN_OR_RETURN(const ModelNeed need, model_need(*request.model, {.n_ctx = request.n_ctx,
                                                                     .n_seq = request.n_seq,
                                                                     .cache = request.cache,
                                                                     .swa_full = request.swa_full,
                                                                     .shared = request.shared_context}));
  const bool pass_changes_bits = need.pass_shapes_cache || request.model->n_expert > 0;
  const Ways ways = ways_of(request, pass_changes_bits);
  for (const Buffers& buffers : ways) {
    ASSIGN_OR_RETURN(tried, try_buffers(request, homes, ram_bytes, buffers));
    if (tried->best != nullptr) break;
  }
  if (tried->best == nullptr)
    return Failure(why_nothing(*tried->basis, ram_bytes, least_bytes(request, homes, ways.back(), *tried)));

  if (const bool any_length = request.n_ubatch == 0 && !pass_changes_bits;
      any_length && tried->best->plan.n_ubatch >= 128)
    RETURN_IF_ERROR(lengthen_passes(homes, ram_bytes, *tried));

  // 3. The fastest, and what the others lack.
  const Evaluated* best = tried->best;
  Plan plan = best->plan;
  if (plan.n_ubatch > request.n_prompt) {
    // The only pass of that prompt is shorter than what was weighed.
    ASSIGN_OR_RETURN(const PlanBasis basis,
                     plan_basis(tried->request, homes, best->plan.host.memory_bytes, plan.n_ubatch));
    const PlanBasis shorter = with_passes_of(basis, static_cast<uint32_t>(request.n_prompt));
    plan.prediction.first_token_s =
        evaluate(shorter, best->chain, plan.mode, best->cache).plan.prediction.first_token_s;
  }
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
