// SPDX-License-Identifier: MIT
#include "plan/candidates.h"

#include <algorithm>

#include "plan/split_problem.h"

namespace spillway {
namespace {

// Memory that devices and weights in RAM compete for is tried in steps of the model's size.
constexpr uint64_t kSharedSteps = 8;

}  // namespace

void Candidates::try_all(const PlanBasis& basis) {
  const Chain on_host(basis.stages.size(), {.kind = kOnHost});
  for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap}) keep(evaluate(basis, on_host, mode));
  const std::vector<Home>& homes = basis.homes.all;
  if (homes.size() == 1 || basis.request.mode == Mode::kMmap) return;
  try_expert_cache(basis);
  try_split(basis, UINT64_MAX);
  if (std::none_of(homes.begin(), homes.end(), [](const Home& home) { return home.shares_ram; })) return;
  // What a shared device takes the host has not: weights, its ring and pool. Steps of the model's size and not of the
  // memory's, so that more memory only adds to what is tried.
  const uint64_t step = std::max<uint64_t>(basis.model.weight_bytes() / kSharedSteps, 1);
  for (uint64_t i = 1; i < kSharedSteps && i * step < basis.ram_bytes; ++i) try_split(basis, i * step);
}

void Candidates::try_split(const PlanBasis& basis, uint64_t shared_bytes_max) {
  bool fits_host = false;
  for (const bool streaming : {false, true}) {
    if (streaming && fits_host) break;
    const SplitProblem problem =
        split_problem(basis, shared_bytes_max, streaming ? streaming_price(basis) : HostPrice{});
    const Split split = split_fast(problem);
    const Chain chain = chain_of(problem, split);
    if (std::all_of(chain.begin(), chain.end(), [](const StageOption& o) { return o.home == 0; })) continue;
    for (const Mode mode : {Mode::kResident, Mode::kStream}) {
      Evaluated one = evaluate(basis, chain, mode);
      one.plan.split_gap = split.seconds > 0 ? 1 - split.seconds_min / split.seconds : 0;
      fits_host = fits_host || (mode == Mode::kResident && one.possible);
      keep(std::move(one));
      if (fits_host) break;
    }
  }
}

void Candidates::try_expert_cache(const PlanBasis& basis) {
  if (basis.model.n_expert == 0) return;
  const SplitProblem problem = split_problem(basis, UINT64_MAX, {}, Experts::kOnHost);
  const Chain chain = chain_of(problem, split_fast(problem));
  if (std::none_of(chain.begin(), chain.end(), [](const StageOption& o) { return o.kind == kWithoutExperts; })) return;
  Evaluated one = evaluate(basis, chain, Mode::kResident, ExpertCache::kOnDevices);
  if (one.possible && one.plan.moe_cache_bytes == 0) return;  // nothing was left for a cache, or it does not pay
  keep(std::move(one));
}

void Candidates::keep(Evaluated one) {
  for (Evaluated& other : all_) {
    if (other.plan.name != one.plan.name) continue;
    const bool faster = one.possible && (!other.possible || one.request_s() < other.request_s() * (1 - 1e-9));
    const bool lacks_less = !one.possible && !other.possible && one.memory_bytes_min < other.memory_bytes_min;
    if (faster || lacks_less) other = std::move(one);
    return;
  }
  all_.push_back(std::move(one));
}

}  // namespace spillway
