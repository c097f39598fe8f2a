// SPDX-License-Identifier: MIT
#include "plan/candidates.h"

#include <algorithm>
#include <optional>

#include "base/saturating_sub.h"
#include "plan/chain_cost.h"
#include "plan/refine.h"

namespace spillway {
namespace {

using Host = SplitTerms::Host;
using Experts = SplitTerms::Experts;

// Memory that devices and streaming compete for is tried in parts of the model's size, and not of the memory's, so that
// more memory only adds to what is tried.
constexpr double kSharedParts[] = {1.0 / 64, 1.0 / 32, 1.0 / 16, 1.0 / 8, 2.0 / 8,
                                   3.0 / 8,  4.0 / 8,  5.0 / 8,  6.0 / 8, 7.0 / 8};
// Where reading and computing are balanced is not known beforehand.
constexpr double kReadShares[] = {0.1, 0.25, 0.5, 0.75, 0.9};
constexpr double kReadShareBesideShared = 0.5;

bool any_on_device(const Chain& chain) {
  return std::any_of(chain.begin(), chain.end(), [](const StageOption& o) { return o.home > 0; });
}

bool any_experts_apart(const Chain& chain) {
  return std::any_of(chain.begin(), chain.end(), [](const StageOption& o) { return o.kind == kWithoutExperts; });
}

double share_of(uint64_t bytes, uint64_t all_bytes) {
  return std::min(1.0, static_cast<double>(bytes) / static_cast<double>(std::max<uint64_t>(all_bytes, 1)));
}

}  // namespace

void Candidates::try_all(const PlanBasis& basis) {
  const Chain on_host(basis.stages.size(), {.kind = kOnHost});
  for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap}) {
    if (mode == Mode::kMmap && !basis.request.may_use_page_cache && basis.request.mode != Mode::kMmap) continue;
    keep(evaluate(basis, on_host, mode));
  }
  const std::vector<Home>& homes = basis.homes.all;
  if (homes.size() == 1 || basis.request.mode == Mode::kMmap) return;
  try_expert_cache(basis);
  bool fits = try_resident(basis, 0);
  for (size_t h = homes.size() - 1; h > 0; --h)
    if (can_help_prompts(homes[h])) {
      fits = try_resident(basis, h) && fits;
      break;
    }
  // Streaming is the same computing and reads besides.
  if (!fits || basis.request.mode == Mode::kStream) try_streamed(basis);
}

// true: what computes fastest fits.
bool Candidates::try_resident(const PlanBasis& basis, size_t prompt_home) {
  SplitTerms terms{.host = Host::kUnlimited, .prompt_home = prompt_home};
  if (try_split(basis, terms, Mode::kResident)) return true;
  terms.host = Host::kResident;
  try_split(basis, terms, Mode::kResident);
  return false;
}

void Candidates::try_streamed(const PlanBasis& basis) {
  const std::vector<Home>& homes = basis.homes.all;
  const bool any_shared = std::any_of(homes.begin(), homes.end(), [](const Home& home) { return home.shares_ram; });
  std::optional<Evaluated> best;
  std::vector<Chain> tried;
  const auto try_terms = [&](Experts experts, uint64_t shared_bytes_max, double read_share) {
    const uint64_t memory_bytes = saturating_sub(basis.ram_bytes, shared_bytes_max);
    const SplitProblem problem =
        split_problem(basis, {.host = Host::kStreamed,
                              .experts = experts,
                              .shared_bytes_max = shared_bytes_max,
                              .read_share = read_share,
                              .pool_share = share_of(memory_bytes, basis.model.weight_bytes())});
    const Chain chain = chain_of(problem, split_over_homes(problem));
    if (!any_on_device(chain) || std::find(tried.begin(), tried.end(), chain) != tried.end()) return;
    tried.push_back(chain);
    Evaluated one = evaluate(basis, chain, Mode::kStream);
    if (one.possible && (!best || one.request_s() < best->request_s())) best = one;
    keep(std::move(one));
  };
  for (const double read_share : kReadShares) {
    try_terms(Experts::kAnywhere, 0, read_share);
    // The sum takes the share of experts that is in memory as given, and may leave them on the host where few whole
    // layers are better: of 600 random plans 60 are 0.1 to 15 % faster with these tried too.
    if (basis.model.n_expert > 0) try_terms(Experts::kWithLayers, 0, read_share);
  }
  // What a shared device takes the host has not: weights, its ring and pool.
  for (const double part : kSharedParts) {
    const auto bytes = static_cast<uint64_t>(part * static_cast<double>(basis.model.weight_bytes()));
    if (any_shared && bytes < basis.ram_bytes) try_terms(Experts::kAnywhere, bytes, kReadShareBesideShared);
  }
  if (best) keep(refine(basis, *std::move(best)));
}

// Whether it is possible.
bool Candidates::try_split(const PlanBasis& basis, const SplitTerms& terms, Mode mode) {
  const SplitProblem problem = split_problem(basis, terms);
  const Chain chain = chain_of(problem, split_over_homes(problem));
  if (!any_on_device(chain)) return false;
  Evaluated one = evaluate(basis, chain, mode);
  const bool possible = one.possible;
  keep(std::move(one));
  return possible;
}

void Candidates::try_expert_cache(const PlanBasis& basis) {
  if (basis.model.n_expert == 0) return;
  const SplitProblem problem = split_problem(basis, {.host = Host::kUnlimited, .experts = Experts::kOnHost});
  const Chain chain = chain_of(problem, split_over_homes(problem));
  if (!any_experts_apart(chain)) return;
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
