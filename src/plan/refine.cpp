// SPDX-License-Identifier: MIT
#include "plan/refine.h"

#include <algorithm>

namespace spillway {
namespace {

// A step that gains less is not worth its evaluation.
constexpr double kGainMin = 1e-4;
constexpr int kStepsMax = 24;

// Stages [begin, end) go where `as` is; what cannot be split there is whole.
Chain with_range(const PlanBasis& basis, Chain chain, size_t begin, size_t end, const StageOption& as) {
  for (size_t s = begin; s < end; ++s) {
    chain[s].home = as.home;
    chain[s].kind = as.kind == kWithoutExperts && basis.stages[s].expert_bytes == 0 ? kWhole : as.kind;
  }
  return chain;
}

// Where a device then has too much, experts of its first layers stay on the host.
Chain with_room(const PlanBasis& basis, Chain chain) {
  std::vector<uint64_t> used(basis.homes.all.size(), basis.buffer_bytes());
  for (size_t s = 0; s < chain.size(); ++s) {
    const Stage& stage = basis.stages[s];
    used[chain[s].home] +=
        stage.dense_bytes + stage.context_bytes() + (chain[s].kind == kWhole ? stage.expert_bytes : 0);
  }
  for (size_t s = 0; s < chain.size(); ++s) {
    const size_t h = chain[s].home;
    if (chain[s].kind != kWhole || used[h] <= basis.homes.all[h].memory_bytes) continue;
    if (basis.stages[s].expert_bytes == 0) continue;
    chain[s].kind = kWithoutExperts;
    used[h] -= basis.stages[s].expert_bytes;
  }
  return chain;
}

// Where homes change, one stretch gives the other 1, 2, 4, ... stages, at last all of them.
void add_shifts(const PlanBasis& basis, const Chain& chain, std::vector<Chain>& out) {
  std::vector<size_t> begins{0};  // of stretches
  for (size_t s = 1; s < chain.size(); ++s)
    if (chain[s].home != chain[s - 1].home) begins.push_back(s);
  begins.push_back(chain.size());
  const auto add = [&](size_t begin, size_t end, size_t home) {
    if (home == 0) return out.push_back(with_range(basis, chain, begin, end, {.home = 0, .kind = kOnHost}));
    for (const StageKind kind : {kWhole, kWithoutExperts})
      if (kind == kWhole || basis.model.n_expert > 0)
        out.push_back(with_room(basis, with_range(basis, chain, begin, end, {.home = home, .kind = kind})));
  };
  for (size_t b = 1; b + 1 < begins.size(); ++b) {
    const size_t at = begins[b], left = at - begins[b - 1], right = begins[b + 1] - at;
    for (size_t k = 1; k < 2 * left; k *= 2) add(at - std::min(k, left), at, chain[at].home);
    for (size_t k = 1; k < 2 * right; k *= 2) add(at, at + std::min(k, right), chain[at - 1].home);
  }
}

// In each home 1, 2, 4, ... layers' experts change between host and device.
void add_expert_moves(const PlanBasis& basis, const Chain& chain, std::vector<Chain>& out) {
  for (size_t h = 1; h < basis.homes.all.size(); ++h)
    for (const StageKind from : {kWhole, kWithoutExperts}) {
      std::vector<size_t> stages;
      for (size_t s = 0; s < chain.size(); ++s)
        if (chain[s].home == h && chain[s].kind == from && basis.stages[s].expert_bytes > 0) stages.push_back(s);
      for (size_t k = 1; k < 2 * stages.size(); k *= 2) {
        Chain& moved = out.emplace_back(chain);
        for (size_t i = 0; i < std::min(k, stages.size()); ++i)
          moved[stages[i]].kind = from == kWhole ? kWithoutExperts : kWhole;
      }
    }
}

}  // namespace

Evaluated refine(const PlanBasis& basis, Evaluated one) {
  for (int step = 0; step < kStepsMax; ++step) {
    std::vector<Chain> neighbours;
    add_shifts(basis, one.chain, neighbours);
    add_expert_moves(basis, one.chain, neighbours);
    const double before_s = one.request_s();
    for (const Chain& chain : neighbours) {
      Evaluated other = evaluate(basis, chain, one.plan.mode);
      if (other.possible && other.request_s() < one.request_s()) one = std::move(other);
    }
    if (one.request_s() > before_s * (1 - kGainMin)) break;
  }
  return one;
}

}  // namespace spillway
