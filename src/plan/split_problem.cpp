// SPDX-License-Identifier: MIT
#include "plan/split_problem.h"

#include <algorithm>

#include "base/saturating_sub.h"
#include "plan/expert_locality.h"

namespace spillway {
namespace {

// Of a stage's weights, those that leave the host with it: not an embedding that is the output too.
uint64_t leaving_bytes(const PlanBasis& basis, const Stage& stage) {
  uint64_t bytes = stage.dense_bytes + stage.expert_bytes;
  for (const size_t t : stage.dense)
    if (basis.model.tensors[t].role == TensorRole::kEmbedding) bytes -= basis.model.tensors[t].range.bytes;
  return bytes;
}

// The host's memory less what it needs in any case.
uint64_t host_capacity_bytes(const PlanBasis& basis) {
  uint64_t always_bytes = basis.model.weight_bytes();
  for (const Stage& stage : basis.stages) always_bytes -= leaving_bytes(basis, stage);
  always_bytes +=
      basis.request.other_bytes > 0 ? basis.request.other_bytes : basis.need.program_bytes + basis.buffer_bytes();
  return saturating_sub(basis.ram_bytes, always_bytes);
}

class Builder {
 public:
  Builder(const PlanBasis& basis, const SplitTerms& terms) : basis_(basis), terms_(terms), homes_(basis.homes.all) {
    const DiskRates& disk = basis.homes.disk;
    const auto n_expert = basis.model.n_expert, n_used = basis.model.n_expert_used;
    touched_ = experts_touched(n_expert, n_used, basis.n_pass);
    if (!streamed()) return;
    compute_weight_ = 1 - terms.read_share;
    read_weight_ = terms.read_share;
    // One expert more shares the pool with those that are there: its own misses, and those it causes.
    const double step = 1e-3 * terms.pool_share;
    const double hit = expert_hit_rate(n_expert, n_used, terms.pool_share);
    const double slope = (hit - expert_hit_rate(n_expert, n_used, terms.pool_share - step)) / step;
    const double miss = std::min(1.0, 1 - hit + terms.pool_share * slope);
    miss_s_per_byte_ = miss / disk.scattered_bytes_per_s;
    read_s_per_byte_ = 1 / disk.sequential_bytes_per_s;
  }

  SplitProblem problem() const {
    SplitProblem problem;
    const size_t n_home = homes_.size();
    problem.hop_s.assign(n_home, std::vector<double>(n_home, 0.0));
    for (size_t from = 0; from < n_home; ++from)
      for (size_t to = from + 1; to < n_home; ++to)
        problem.hop_s[from][to] = (from > 0 ? hop_s(homes_[from]) : 0) + hop_s(homes_[to]);
    // Adapters lie where their matrices do: all of them on one device, at most.
    const uint64_t beside_bytes = basis_.buffer_bytes() + basis_.request.adapter_bytes;
    for (const Home& home : homes_) {
      problem.capacity_bytes.push_back(saturating_sub(home.memory_bytes, beside_bytes));
      problem.join_host_bytes.push_back(limited() && home.shares_ram ? basis_.buffer_bytes() : 0);
    }
    problem.capacity_bytes[0] = host_capacity_bytes(basis_);
    if (streamed()) problem.capacity_bytes[0] = std::min(problem.capacity_bytes[0], terms_.shared_bytes_max);
    for (const Stage& stage : basis_.stages) problem.stages.push_back(options_of(stage));
    // Only a device that computes anyway takes a prompt's work off the CPU. What is on any is followed by the output.
    std::erase_if(problem.stages.back(), [&](const StageOption& o) { return o.home < terms_.prompt_home; });
    return problem;
  }

 private:
  bool limited() const { return terms_.host != SplitTerms::Host::kUnlimited; }
  bool streamed() const { return terms_.host == SplitTerms::Host::kStreamed; }
  bool resident() const { return terms_.host == SplitTerms::Host::kResident; }

  double n_answer() const { return static_cast<double>(basis_.request.n_answer); }
  double n_prompt() const { return static_cast<double>(basis_.request.n_prompt); }

  // Handing activations over to or from a home, during a whole request.
  double hop_s(const Home& home) const {
    return compute_weight_ * (n_answer() * hop_seconds(home, basis_.activation_bytes()) +
                              basis_.n_prompt_passes() * hop_seconds(home, basis_.activation_bytes() * basis_.n_pass));
  }

  double dense_s(const Stage& stage, size_t h) const {
    const double token_s = stage.dense_token_s[h] + stage.kv_token_s[h];
    if (h > 0) return compute_weight_ * (n_answer() * token_s + n_prompt() * stage.dense_prompt_s[h]);
    const auto bytes = static_cast<double>(stage.dense_bytes);
    const double prompt_s = host_prompt_s(stage.dense_prompt_s, bytes);
    const double read_s = read_s_per_byte_ * bytes * (n_answer() + basis_.n_prompt_passes());
    return compute_weight_ * (n_answer() * token_s + prompt_s) + read_weight_ * read_s;
  }

  double expert_s(const Stage& stage, size_t h) const {
    if (h > 0) return compute_weight_ * (n_answer() * stage.expert_token_s[h] + n_prompt() * stage.expert_prompt_s[h]);
    const double touched_bytes = touched_ * static_cast<double>(stage.expert_bytes);
    const double prompt_s = host_prompt_s(stage.expert_prompt_s, touched_bytes);
    const double token_bytes = static_cast<double>(stage.expert_bytes) * expert_share(basis_.model);
    const double missed_s = n_answer() * token_bytes * miss_s_per_byte_;  // nothing goes on beside it
    const double read_s = read_s_per_byte_ * touched_bytes * (1 - terms_.pool_share) * basis_.n_prompt_passes();
    return compute_weight_ * (n_answer() * stage.expert_token_s[0] + prompt_s) + missed_s + read_weight_ * read_s;
  }

  // All of a prompt with weights of the host, of which a pass uses `bytes`.
  double host_prompt_s(const std::vector<double>& prompt_s, double bytes) const {
    const size_t h = terms_.prompt_home;
    const double copy_s = h > 0 ? basis_.n_prompt_passes() * bytes / homes_[h].upload_bytes_per_s : 0;
    return copy_s + n_prompt() * prompt_s[h];
  }

  // `stays_bytes`: weights on the host.
  uint64_t host_bytes(const Home& home, uint64_t stays_bytes, uint64_t device_bytes) const {
    if (!limited()) return 0;
    return (resident() ? stays_bytes : 0) + (home.shares_ram ? device_bytes : 0);
  }

  std::vector<StageOption> options_of(const Stage& stage) const {
    // What a load measured includes the KV cache.
    const uint64_t kv_bytes = basis_.request.other_bytes > 0 ? 0 : stage.context_bytes();
    const uint64_t all_bytes = leaving_bytes(basis_, stage) + kv_bytes;
    std::vector<StageOption> options = {{.home = 0,
                                         .bytes = 0,
                                         .seconds = dense_s(stage, 0) + expert_s(stage, 0),
                                         .kind = kOnHost,
                                         .host_bytes = host_bytes(homes_[0], all_bytes, 0)}};
    for (size_t h = 1; h < homes_.size(); ++h) {
      const uint64_t dense_bytes = stage.dense_bytes + stage.context_bytes();
      if (stage.expert_bytes == 0 || terms_.experts != SplitTerms::Experts::kOnHost) {
        const uint64_t whole_bytes = dense_bytes + stage.expert_bytes;
        options.push_back({.home = h,
                           .bytes = whole_bytes,
                           .seconds = dense_s(stage, h) + expert_s(stage, h),
                           .kind = kWhole,
                           .host_bytes = host_bytes(homes_[h], 0, whole_bytes)});
      }
      if (stage.expert_bytes > 0 && terms_.experts != SplitTerms::Experts::kWithLayers)
        options.push_back({.home = h,
                           .bytes = dense_bytes,
                           .seconds = dense_s(stage, h) + expert_s(stage, 0) + 2 * hop_s(homes_[h]),
                           .kind = kWithoutExperts,
                           .host_bytes = host_bytes(homes_[h], stage.expert_bytes, dense_bytes)});
    }
    return options;
  }

  const PlanBasis& basis_;
  const SplitTerms& terms_;
  const std::vector<Home>& homes_;
  double touched_ = 1;
  double compute_weight_ = 1, read_weight_ = 0;
  double read_s_per_byte_ = 0, miss_s_per_byte_ = 0;
};

}  // namespace

SplitProblem split_problem(const PlanBasis& basis, const SplitTerms& terms) { return Builder(basis, terms).problem(); }

Chain chain_of(const SplitProblem& problem, const Split& split) {
  Chain chain;
  for (size_t s = 0; s < split.chosen.size(); ++s) chain.push_back(problem.stages[s][split.chosen[s]]);
  return chain;
}

}  // namespace spillway
