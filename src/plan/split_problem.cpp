// SPDX-License-Identifier: MIT
#include "plan/split_problem.h"

#include <algorithm>
#include <cmath>

#include "plan/expert_locality.h"

namespace spillway {
namespace {

// What weights and KV may take of each home: its memory less the buffers of a pass.
std::vector<uint64_t> capacities(const PlanBasis& basis, uint64_t shared_bytes_max) {
  std::vector<uint64_t> bytes;
  for (const Home& home : basis.homes.all) {
    uint64_t capacity = home.memory_bytes - std::min(home.memory_bytes, basis.buffer_bytes());
    if (home.shares_ram) capacity = std::min(capacity, shared_bytes_max);
    bytes.push_back(capacity);
  }
  return bytes;
}

// Handing activations over to or from a home, during a whole request.
double hop_request_seconds(const PlanBasis& basis, const Home& home) {
  const auto n_answer = static_cast<double>(basis.request.n_answer);
  const auto n_prompt = static_cast<double>(basis.request.n_prompt);
  const double n_passes = std::ceil(n_prompt / basis.n_ubatch);
  return n_answer * hop_seconds(home, basis.activation_bytes()) + n_passes * home.hop_s +
         n_prompt * basis.activation_bytes() / home.upload_bytes_per_s;
}

std::vector<StageOption> options_of(const PlanBasis& basis, const Stage& stage, const HostPrice& price,
                                    Experts experts) {
  const auto n_answer = static_cast<double>(basis.request.n_answer);
  const auto n_prompt = static_cast<double>(basis.request.n_prompt);
  const auto dense_s = [&](size_t h) {
    return n_answer * (stage.dense_token_s[h] + stage.kv_token_s[h]) + n_prompt * stage.dense_prompt_s[h];
  };
  const auto expert_s = [&](size_t h) {
    return n_answer * stage.expert_token_s[h] + n_prompt * stage.expert_prompt_s[h];
  };
  const double active_bytes = static_cast<double>(stage.expert_bytes) * expert_share(basis.model);
  const double expert_price_s = n_answer * active_bytes * price.expert_s_per_active_byte;
  const double dense_price_s = n_answer * static_cast<double>(stage.dense_bytes) * price.dense_s_per_byte;
  std::vector<StageOption> options = {{0, 0, dense_s(0) + expert_s(0) + expert_price_s + dense_price_s, kOnHost}};
  for (size_t h = 1; h < basis.homes.all.size(); ++h) {
    const uint64_t dense_bytes = stage.dense_bytes + stage.context_bytes();
    if (stage.expert_bytes == 0 || experts == Experts::kAnywhere)
      options.push_back({h, dense_bytes + stage.expert_bytes, dense_s(h) + expert_s(h), kWhole});
    if (stage.expert_bytes > 0)
      options.push_back({h, dense_bytes,
                         dense_s(h) + expert_s(0) + expert_price_s + 2 * hop_request_seconds(basis, basis.homes.all[h]),
                         kWithoutExperts});
  }
  return options;
}

}  // namespace

HostPrice streaming_price(const PlanBasis& basis) {
  const GgufModel& model = basis.model;
  const DiskRates& disk = basis.homes.disk;
  const double share = std::min(1.0, static_cast<double>(basis.ram_bytes) / static_cast<double>(model.weight_bytes()));
  const double miss = 1 - expert_hit_rate(model.n_expert, model.n_expert_used, share);
  return {1 / disk.sequential_bytes_per_s, miss / disk.scattered_bytes_per_s};
}

SplitProblem split_problem(const PlanBasis& basis, uint64_t shared_bytes_max, const HostPrice& price, Experts experts) {
  SplitProblem problem;
  problem.capacity_bytes = capacities(basis, shared_bytes_max);
  const std::vector<Home>& homes = basis.homes.all;
  problem.hop_s.assign(homes.size(), std::vector<double>(homes.size(), 0.0));
  for (size_t from = 0; from < homes.size(); ++from)
    for (size_t to = from + 1; to < homes.size(); ++to)
      problem.hop_s[from][to] =
          (from > 0 ? hop_request_seconds(basis, homes[from]) : 0) + hop_request_seconds(basis, homes[to]);
  for (const Stage& stage : basis.stages) problem.stages.push_back(options_of(basis, stage, price, experts));
  return problem;
}

Chain chain_of(const SplitProblem& problem, const Split& split) {
  Chain chain;
  for (size_t s = 0; s < split.chosen.size(); ++s) chain.push_back(problem.stages[s][split.chosen[s]]);
  return chain;
}

}  // namespace spillway
