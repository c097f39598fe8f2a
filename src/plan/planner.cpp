// SPDX-License-Identifier: MIT
// Candidates: everything on the CPU, in memory, streamed or mapped; and splits over devices, found by device_split at
// several prices and memories, with the host's part in memory or streamed. Each is costed with ubatches of several
// sizes, since a larger one hides reads behind more computing and takes memory that weights could have. The least time
// for one request wins.
#include "plan/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "plan/cost_model.h"
#include "plan/device_split.h"
#include "plan/expert_locality.h"
#include "plan/homes.h"
#include "plan/model_facts.h"
#include "plan/model_need.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

constexpr uint64_t kRamBytesMin = 64 * MiB;
constexpr uint64_t kRamBytesMax = 1ull << 50;
constexpr std::array<uint32_t, 3> kUbatches = {128, 256, 512};
// Products of few tokens are slower: half of the rate is reached at this many.
constexpr double kDeviceHalfRateTokens = 96, kHostHalfRateTokens = 8;
// Memory that devices and weights in RAM compete for is tried in steps of the model's size.
constexpr uint64_t kSharedSteps = 8;

enum OptionKind { kOnHost, kWhole, kWithoutExperts };

// A layer, or the output at the end.
struct Stage {
  std::vector<size_t> dense, experts;  // tensors
  uint64_t dense_bytes = 0, expert_bytes = 0;
  uint64_t kv_bytes = 0, state_bytes = 0;
  // [home] computing for one token, and for each token of a prompt
  std::vector<double> dense_token_s, expert_token_s, dense_prompt_s, expert_prompt_s, kv_token_s;
};

struct Evaluated {
  bool possible = false;
  std::string why_not;
  uint64_t memory_bytes_min = 0;  // when it is memory that lacks
  Plan plan;
};

double hop_seconds(const Home& home, double bytes) { return home.hop_s + bytes / home.upload_bytes_per_s; }

class Planner {
 public:
  Planner(const PlanRequest& request, uint64_t ram_bytes)
      : request_(request),
        model_(*request.model),
        homes_(homes_of(*request.machine, request.gpu_memory_bytes)),
        ram_bytes_(ram_bytes) {}

  Result<Plan> plan() {
    for (const uint32_t n_ubatch : kUbatches) {
      if (request_.n_ubatch > 0 && n_ubatch != kUbatches.front()) break;
      NeedOptions options{.n_ctx = request_.n_ctx,
                          .n_seq = request_.n_seq,
                          .n_ubatch = request_.n_ubatch > 0 ? request_.n_ubatch : n_ubatch,
                          .cache_type_k = request_.cache_type_k,
                          .cache_type_v = request_.cache_type_v};
      ASSIGN_OR_RETURN(need_, model_need(model_, options));
      n_ubatch_ = options.n_ubatch;
      make_stages();
      consider_all();
    }
    return choose();
  }

 private:
  // --- the model as stages

  void make_stages() {
    stages_.assign(model_.n_layer + 1, {});
    for (size_t l = 0; l < model_.n_layer && l < need_.layers.size(); ++l) {
      stages_[l].kv_bytes = need_.layers[l].kv_bytes;
      stages_[l].state_bytes = need_.layers[l].state_bytes;
    }
    for (size_t t = 0; t < model_.tensors.size(); ++t) {
      const TensorInfo& tensor = model_.tensors[t];
      if (is_row_table(model_, tensor)) continue;
      const bool in_layer = tensor.layer >= 0 && static_cast<uint64_t>(tensor.layer) < model_.n_layer;
      Stage& stage = in_layer ? stages_[static_cast<size_t>(tensor.layer)] : stages_.back();
      const bool experts = tensor.slices > 1;
      (experts ? stage.experts : stage.dense).push_back(t);
      (experts ? stage.expert_bytes : stage.dense_bytes) += tensor.range.bytes;
    }
    for (Stage& stage : stages_)
      for (const Home& home : homes_.all) add_seconds(stage, home);
  }

  void add_seconds(Stage& stage, const Home& home) const {
    const auto token_s = [&](const std::vector<size_t>& tensors) {
      double seconds = 0;
      for (const size_t t : tensors) {
        const TensorInfo& tensor = model_.tensors[t];
        seconds += static_cast<double>(tensor.range.bytes) * active_share(model_, tensor) /
                   home.rates.decode_bytes_per_s(tensor.type);
      }
      return seconds;
    };
    const auto prompt_s = [&](const std::vector<size_t>& tensors) {
      double seconds = 0;
      for (const size_t t : tensors) {
        const TensorInfo& tensor = model_.tensors[t];
        seconds += 2 * static_cast<double>(n_values(tensor)) * active_share(model_, tensor) /
                   home.rates.prefill_flops_per_s(tensor.type);
      }
      return seconds;
    };
    // Of a prompt only the last token needs the output.
    const bool is_output = &stage == &stages_.back();
    stage.dense_token_s.push_back(token_s(stage.dense) + home.layer_s);
    stage.expert_token_s.push_back(token_s(stage.experts));
    stage.dense_prompt_s.push_back(is_output ? 0 : prompt_s(stage.dense));
    stage.expert_prompt_s.push_back(prompt_s(stage.experts));
    const double depth = static_cast<double>(std::min(request_.n_ctx / std::max(request_.n_seq, 1u),
                                                      request_.n_prompt + request_.n_answer / 2)) /
                         static_cast<double>(request_.n_ctx);
    stage.kv_token_s.push_back(
        (static_cast<double>(stage.kv_bytes) * depth + static_cast<double>(stage.state_bytes) / request_.n_seq) /
        home.memory_bytes_per_s);
  }

  // --- splitting over homes

  struct HostPrice {  // seconds that a host byte costs beyond computing, per token
    double dense_s_per_byte = 0, expert_s_per_active_byte = 0;
  };

  // When the host streams, what it holds is read: dense weights whole, experts as they are missed.
  HostPrice streaming_price() const {
    const double share = std::min(1.0, static_cast<double>(ram_bytes_) / static_cast<double>(model_.weight_bytes()));
    const double miss = 1 - expert_hit_rate(model_.n_expert, model_.n_expert_used, share);
    return {1 / homes_.disk.sequential_bytes_per_s, miss / homes_.disk.scattered_bytes_per_s};
  }

  enum class Experts { kAnywhere, kOnHostCached };

  SplitProblem split_problem(const std::vector<uint64_t>& capacity_bytes, const HostPrice& price,
                             Experts experts = Experts::kAnywhere) const {
    const auto n_answer = static_cast<double>(request_.n_answer), n_prompt = static_cast<double>(request_.n_prompt);
    const double activation_bytes = 4 * static_cast<double>(model_.n_embd);
    const double n_passes = std::ceil(n_prompt / n_ubatch_);
    const auto hop = [&](const Home& home) {
      return n_answer * hop_seconds(home, activation_bytes) + n_passes * home.hop_s +
             n_prompt * activation_bytes / home.upload_bytes_per_s;
    };
    SplitProblem problem;
    problem.capacity_bytes = capacity_bytes;
    const size_t n_home = homes_.all.size();
    problem.hop_s.assign(n_home, std::vector<double>(n_home, 0.0));
    for (size_t from = 0; from < n_home; ++from)
      for (size_t to = from + 1; to < n_home; ++to)
        problem.hop_s[from][to] = (from > 0 ? hop(homes_.all[from]) : 0) + hop(homes_.all[to]);
    for (const Stage& stage : stages_) {
      auto& options = problem.stages.emplace_back();
      const double active_bytes = static_cast<double>(stage.expert_bytes) * expert_share();
      const auto dense_s = [&](size_t h) {
        return n_answer * (stage.dense_token_s[h] + stage.kv_token_s[h]) + n_prompt * stage.dense_prompt_s[h];
      };
      const auto expert_s = [&](size_t h) {
        return n_answer * stage.expert_token_s[h] + n_prompt * stage.expert_prompt_s[h];
      };
      const double expert_price_s = n_answer * active_bytes * price.expert_s_per_active_byte;
      options.push_back({0, 0,
                         dense_s(0) + expert_s(0) + expert_price_s +
                             n_answer * static_cast<double>(stage.dense_bytes) * price.dense_s_per_byte,
                         kOnHost});
      for (size_t h = 1; h < n_home; ++h) {
        const uint64_t dense_bytes = stage.dense_bytes + stage.kv_bytes + stage.state_bytes;
        if (stage.expert_bytes == 0 || experts == Experts::kAnywhere)
          options.push_back({h, dense_bytes + stage.expert_bytes, dense_s(h) + expert_s(h), kWhole});
        if (stage.expert_bytes > 0)
          options.push_back(
              {h, dense_bytes, dense_s(h) + expert_s(0) + expert_price_s + 2 * hop(homes_.all[h]), kWithoutExperts});
      }
    }
    return problem;
  }

  double expert_share() const {
    if (model_.n_expert == 0) return 1;
    return std::min(1.0, static_cast<double>(experts_used(model_)) / static_cast<double>(model_.n_expert));
  }

  // What weights and KV may take of each home: its memory less the buffers of a pass.
  std::vector<uint64_t> capacities(uint64_t shared_bytes_max) const {
    std::vector<uint64_t> bytes;
    for (const Home& home : homes_.all) {
      const uint64_t buffers = need_.compute_bytes + need_.output_bytes;
      uint64_t capacity = home.memory_bytes - std::min(home.memory_bytes, buffers);
      if (home.shares_ram) capacity = std::min(capacity, shared_bytes_max);
      bytes.push_back(capacity);
    }
    return bytes;
  }

  // --- candidates

  void consider_all() {
    const std::vector<StageOption> on_host(stages_.size(), {.kind = kOnHost});
    consider(evaluate(on_host, Mode::kResident));
    consider(evaluate(on_host, Mode::kStream));
    consider(evaluate(on_host, Mode::kMmap));
    if (homes_.all.size() == 1 || request_.mode == Mode::kMmap) return;
    consider_expert_cache();
    const bool shared = std::any_of(homes_.all.begin(), homes_.all.end(), [](const Home& h) { return h.shares_ram; });
    consider_split(UINT64_MAX);
    if (!shared) return;
    // What a shared device takes the host has not: weights, its ring and pool. Steps of the model's size and not of the
    // memory's, so that more memory only adds to what is tried.
    const uint64_t step = std::max<uint64_t>(model_.weight_bytes() / kSharedSteps, 1);
    for (uint64_t i = 1; i < kSharedSteps && i * step < ram_bytes_; ++i) consider_split(i * step);
  }

  void consider_split(uint64_t shared_bytes_max) {
    const std::vector<uint64_t> capacity_bytes = capacities(shared_bytes_max);
    bool fits_host = false;
    for (const bool streaming : {false, true}) {
      if (streaming && fits_host) break;
      const SplitProblem problem = split_problem(capacity_bytes, streaming ? streaming_price() : HostPrice{});
      const Split split = split_fast(problem);
      std::vector<StageOption> chosen;
      for (size_t s = 0; s < stages_.size(); ++s) chosen.push_back(problem.stages[s][split.chosen[s]]);
      if (std::all_of(chosen.begin(), chosen.end(), [](const StageOption& o) { return o.home == 0; })) continue;
      for (const Mode mode : {Mode::kResident, Mode::kStream}) {
        Evaluated one = evaluate(chosen, mode);
        one.plan.split_gap = split.seconds > 0 ? 1 - split.seconds_min / split.seconds : 0;
        fits_host = fits_host || (mode == Mode::kResident && one.possible);
        consider(std::move(one));
        if (fits_host) break;
      }
    }
  }

  // Experts stay in memory on the host, and what devices have left caches those that are used most.
  void consider_expert_cache() {
    if (model_.n_expert == 0) return;
    const SplitProblem problem = split_problem(capacities(UINT64_MAX), {}, Experts::kOnHostCached);
    const Split split = split_fast(problem);
    std::vector<StageOption> chosen;
    for (size_t s = 0; s < stages_.size(); ++s) chosen.push_back(problem.stages[s][split.chosen[s]]);
    if (std::none_of(chosen.begin(), chosen.end(), [](const StageOption& o) { return o.kind == kWithoutExperts; }))
      return;
    Evaluated one = evaluate(chosen, Mode::kResident, Experts::kOnHostCached);
    if (one.possible && one.plan.moe_cache_bytes == 0) return;  // nothing was left for a cache, or it does not pay
    consider(std::move(one));
  }

  // The best of each name stays.
  void consider(Evaluated one) {
    for (Evaluated& other : considered_) {
      if (other.plan.name != one.plan.name) continue;
      const bool better = one.possible && (!other.possible || one.plan.prediction.request_s <
                                                                  other.plan.prediction.request_s * (1 - 1e-9));
      if (better) {
        other = std::move(one);
      } else if (!one.possible && !other.possible && one.memory_bytes_min < other.memory_bytes_min) {
        other = std::move(one);
      }
      return;
    }
    considered_.push_back(std::move(one));
  }

  // --- one candidate

  std::string name_of(const std::vector<StageOption>& chosen, Mode mode) const {
    bool any_gpu = false, any_worker = false, any_host = false;
    for (size_t s = 0; s < chosen.size(); ++s) {
      const StageOption& option = chosen[s];
      const bool output = s + 1 == chosen.size();
      if (option.home == 0) any_host = any_host || !output;
      if (option.kind == kWithoutExperts) any_host = true;
      if (option.home > 0) (homes_.all[option.home].is_worker ? any_worker : any_gpu) = true;
    }
    if (!any_gpu && !any_worker) return mode_name(mode);
    std::string name = any_gpu && any_worker ? "GPU and workers" : any_worker ? "workers" : "GPU";
    if (any_host) name += mode == Mode::kStream ? " split, stream" : " split";
    return name;
  }

  Evaluated evaluate(const std::vector<StageOption>& chosen, Mode mode, Experts experts = Experts::kAnywhere) const {
    Evaluated out;
    Plan& plan = out.plan;
    plan.name = name_of(chosen, mode);
    if (experts == Experts::kOnHostCached) plan.name += ", expert cache";
    plan.mode = mode;
    plan.n_ubatch = n_ubatch_;
    plan.host.memory_bytes = ram_bytes_;
    place_tensors(chosen, plan);

    // 1. Memory beside the weights.
    const bool any_on_host = std::any_of(chosen.begin(), chosen.end(),
                                         [](const StageOption& o) { return o.home == 0 || o.kind == kWithoutExperts; });
    HostUse& host = plan.host;
    host.program_bytes = need_.program_bytes;
    host.compute_bytes = (any_on_host ? need_.compute_bytes : need_.compute_bytes / 8) + need_.output_bytes;
    for (size_t s = 0; s < chosen.size(); ++s)
      if (chosen[s].home == 0) host.kv_bytes += stages_[s].kv_bytes + stages_[s].state_bytes;
    if (request_.other_bytes > 0) {  // measured by a load: taken as it is
      host.program_bytes = request_.other_bytes - std::min(request_.other_bytes, host.kv_bytes + host.compute_bytes);
      if (host.program_bytes == 0) host.kv_bytes = request_.other_bytes, host.compute_bytes = 0;
    }
    for (const DeviceUse& device : plan.devices) {
      if (device.used_bytes() > device.memory_bytes) {
        out.why_not = fmt::format("{} has {} and would need {}", device.name, format_bytes(device.memory_bytes),
                                  format_bytes(device.used_bytes()));
        return out;
      }
      if (device.shares_ram) host.devices_bytes += device.used_bytes();
    }
    const uint64_t other_bytes = host.used_bytes();
    const uint64_t weights_budget_bytes = ram_bytes_ - std::min(ram_bytes_, other_bytes);

    // 2. Where the host's weights are.
    HostWeights weights = host_weights(chosen);
    Streamed streamed;
    const auto lacks = [&](uint64_t weights_bytes_min) {
      out.memory_bytes_min = weights_bytes_min + other_bytes;
      out.why_not = fmt::format("needs {} of memory: {} of weights, {} beside them", format_bytes(out.memory_bytes_min),
                                format_bytes(weights_bytes_min), format_bytes(other_bytes));
      return out;
    };
    if (mode == Mode::kResident) {
      if (host.weight_bytes > weights_budget_bytes || other_bytes > ram_bytes_) return lacks(host.weight_bytes);
      host.pinned_bytes = host.weight_bytes;
    } else if (mode == Mode::kStream) {
      const auto placed = place_streamed(weights_budget_bytes, plan);
      if (!placed) return lacks(streaming_bytes_min(plan));
      if (other_bytes > ram_bytes_) return lacks(placed->weights_bytes_min);
      host.pinned_bytes = placed->pinned_bytes;
      host.ring_pool_bytes = placed->ring_pool_bytes;
      host.expert_pool_bytes = placed->pool_bytes - placed->ring_pool_bytes;
      host.rows_bytes = placed->rows_bytes;
      host.streamed_bytes = placed->ring_tensor_bytes + placed->expert_tensor_bytes -
                            std::min(placed->expert_tensor_bytes, host.expert_pool_bytes);
      streamed.ring_bytes = static_cast<double>(placed->ring_tensor_bytes);
      streamed.pool_bytes = static_cast<double>(host.expert_pool_bytes);
    } else {
      const uint64_t least = largest_layer_active_bytes();
      if (least > weights_budget_bytes || other_bytes > ram_bytes_) return lacks(least);
      host.pinned_bytes = 0;
    }
    out.possible = true;

    // 3. What it costs.
    ComputeCost compute = compute_cost(chosen, mode, plan);
    if (experts == Experts::kOnHostCached) cache_experts(chosen, plan, compute);
    Prediction& p = plan.prediction;
    const auto cache_bytes = static_cast<double>(weights_budget_bytes);
    Cost token, pass;
    if (mode == Mode::kResident) {
      token = resident_token(compute), pass = resident_pass(compute);
    } else if (mode == Mode::kStream) {
      token = streamed_token(compute, weights, streamed, homes_.disk);
      const ComputeCost cut = cut_to_pool(compute, weights, streamed);
      pass = streamed_pass(cut, weights, streamed, homes_.disk);
      pass.seconds *= static_cast<double>(compute.n_pass_tokens) / static_cast<double>(cut.n_pass_tokens);
    } else {
      token = mapped_token(compute, weights, cache_bytes, homes_.disk);
      pass = mapped_pass(compute, weights, cache_bytes, homes_.disk);
    }
    correct(plan.name, p, token, pass);
    const auto n_prompt = static_cast<double>(request_.n_prompt), n_answer = static_cast<double>(request_.n_answer);
    p.decode_tok_per_s = 1 / token.seconds;
    p.prefill_tok_per_s = static_cast<double>(compute.n_pass_tokens) / pass.seconds;
    p.first_token_s = n_prompt / p.prefill_tok_per_s + token.seconds;
    p.request_s = n_prompt / p.prefill_tok_per_s + n_answer * token.seconds;
    p.bytes_read_per_token = token.bytes_read;
    p.hit_rate = token.hit_rate;
    p.decode_bound = token.bound;
    p.prefill_bound = pass.bound;
    p.load_s = load_seconds(plan);
    return out;
  }

  void correct(const std::string& name, Prediction& p, Cost& token, Cost& pass) const {
    if (request_.corrections == nullptr || request_.corrections->empty()) return;
    const auto known =
        find_correction(*request_.corrections, model_key(model_), request_.machine->fingerprint, name, ram_bytes_);
    if (!known) return;
    p.correction = known->factor();
    token.seconds /= p.correction;
    pass.seconds /= std::min(p.correction, 1.0);  // decoding was measured: a prompt is at most as bad
  }

  void place_tensors(const std::vector<StageOption>& chosen, Plan& plan) const {
    plan.places.assign(model_.tensors.size(), {});
    for (size_t h = 1; h < homes_.all.size(); ++h) {
      const Home& home = homes_.all[h];
      plan.devices.push_back({.name = home.name,
                              .is_worker = home.is_worker,
                              .shares_ram = home.shares_ram,
                              .memory_bytes = home.memory_bytes});
    }
    plan.host.weight_bytes = model_.weight_bytes();
    for (size_t s = 0; s < chosen.size(); ++s) {
      const StageOption& option = chosen[s];
      if (option.home == 0) continue;
      DeviceUse& device = plan.devices[option.home - 1];
      const Stage& stage = stages_[s];
      const auto move = [&](const std::vector<size_t>& tensors) {
        for (const size_t t : tensors) {
          plan.places[t].device = static_cast<int>(option.home - 1);
          device.weight_bytes += model_.tensors[t].range.bytes;
          // An embedding that is the output too stays on the host for its rows, and is copied to the device.
          if (model_.tensors[t].role == TensorRole::kEmbedding) continue;
          plan.host.weight_bytes -= model_.tensors[t].range.bytes;
        }
      };
      move(stage.dense);
      if (option.kind == kWhole) move(stage.experts);
      if (option.kind == kWithoutExperts) plan.experts_on_host = true;
      device.kv_bytes += stage.kv_bytes + stage.state_bytes;
      if (s + 1 < chosen.size()) ++device.n_layers;
      if (s + 1 == chosen.size()) device.has_output = true;
      ++plan.n_gpu_layers;
    }
    for (DeviceUse& device : plan.devices)
      if (device.weight_bytes + device.kv_bytes > 0) device.compute_bytes = need_.compute_bytes + need_.output_bytes;
  }

  HostWeights host_weights(const std::vector<StageOption>& chosen) const {
    HostWeights weights{.n_expert = model_.n_expert, .n_expert_used = experts_used(model_)};
    for (size_t s = 0; s < chosen.size(); ++s) {
      if (chosen[s].kind == kWhole) continue;
      const Stage& stage = stages_[s];
      if (chosen[s].kind == kOnHost) weights.dense_bytes += static_cast<double>(stage.dense_bytes);
      weights.expert_bytes += static_cast<double>(stage.expert_bytes);
      weights.expert_token_bytes += static_cast<double>(stage.expert_bytes) * expert_share();
      weights.n_expert_layers += stage.expert_bytes > 0 ? 1 : 0;
    }
    return weights;
  }

  PlanInput placement_input(const Plan& plan, std::vector<TensorInfo>& tensors, std::vector<size_t>& index) const {
    bool tied = !model_.has_output;
    for (size_t t = 0; t < model_.tensors.size(); ++t) {
      if (plan.places[t].device != kHost) {
        if (model_.tensors[t].name != "token_embd.weight") continue;
        tied = false;  // the device has its copy; here only rows are read
      }
      tensors.push_back(model_.tensors[t]);
      index.push_back(t);
    }
    return {.tensors = &tensors,
            .tied_embedding = tied,
            .n_expert_used = model_.n_expert_used,
            .weights_budget_bytes = 0,
            .resident_bytes = plan.host.weight_bytes,
            .mode = Mode::kStream,
            .extent_bytes_min = request_.extent_bytes_min};
  }

  Result<Placement> place_streamed(uint64_t weights_budget_bytes, Plan& plan) const {
    std::vector<TensorInfo> tensors;
    std::vector<size_t> index;
    PlanInput input = placement_input(plan, tensors, index);
    input.weights_budget_bytes = weights_budget_bytes;
    auto placed = place(input);
    if (!placed) return placed;
    for (size_t i = 0; i < index.size(); ++i) plan.places[index[i]].tier = placed->tiers[i];
    return placed;
  }

  uint64_t streaming_bytes_min(const Plan& plan) const {
    std::vector<TensorInfo> tensors;
    std::vector<size_t> index;
    PlanInput input = placement_input(plan, tensors, index);
    input.weights_budget_bytes = UINT64_MAX / 4;
    const auto placed = place(input);
    return placed ? placed->weights_bytes_min : plan.host.weight_bytes;
  }

  uint64_t largest_layer_active_bytes() const {
    double most = 0;
    for (const Stage& stage : stages_)
      most = std::max(
          most, static_cast<double>(stage.dense_bytes) + static_cast<double>(stage.expert_bytes) * expert_share());
    return static_cast<uint64_t>(most);
  }

  ComputeCost compute_cost(const std::vector<StageOption>& chosen, Mode mode, Plan& plan) const {
    ComputeCost cost;
    cost.n_pass_tokens = n_ubatch_;
    cost.n_cores = std::max(request_.machine->cores, 1u);
    const double n_pass = n_ubatch_;
    const double activation_bytes = 4 * static_cast<double>(model_.n_embd);
    double host_pass_s = 0, device_pass_s = 0, hop_pass_s = 0;
    double host_pass_on_device_s = 0, host_bytes = 0;
    // Weights that stay on the host can be copied to a device of this machine for a long pass.
    size_t helper = 0;
    for (size_t h = 1; h < homes_.all.size(); ++h)
      if (!homes_.all[h].is_worker && !homes_.all[h].shares_ram && plan.devices[h - 1].weight_bytes > 0) helper = h;
    const auto efficiency_with = [&](double half) { return n_pass / (n_pass + half) * (512 + half) / 512; };
    const double efficiency = efficiency_with(kDeviceHalfRateTokens);
    const double host_efficiency = efficiency_with(kHostHalfRateTokens);
    const double touched = experts_touched(model_.n_expert, model_.n_expert_used, n_ubatch_);
    const auto hop = [&](const Home& home) {
      cost.transfer_token_s += hop_seconds(home, activation_bytes);
      hop_pass_s += hop_seconds(home, activation_bytes * n_pass);
    };
    const auto on_host = [&](double prompt_s, double prompt_on_helper_s, double bytes) {
      host_pass_s += n_pass * prompt_s / host_efficiency;
      host_pass_on_device_s += n_pass * prompt_on_helper_s / efficiency;
      host_bytes += bytes;
    };
    size_t home = 0;
    for (size_t s = 0; s < chosen.size(); ++s) {
      const StageOption& option = chosen[s];
      const Stage& stage = stages_[s];
      if (option.home != home) {
        if (home > 0) hop(homes_.all[home]);
        hop(homes_.all[option.home]);
        home = option.home;
      }
      const double dense_s = stage.dense_token_s[home] + stage.kv_token_s[home];
      if (home == 0) {
        cost.host_token_s += dense_s;
        on_host(stage.dense_prompt_s[0], stage.dense_prompt_s[helper], static_cast<double>(stage.dense_bytes));
      } else {
        cost.device_token_s += dense_s;
        device_pass_s += n_pass * stage.dense_prompt_s[home] / efficiency;
      }
      if (option.kind == kWhole) {
        cost.device_token_s += stage.expert_token_s[home];
        device_pass_s += n_pass * stage.expert_prompt_s[home] / efficiency;
      } else {
        cost.host_token_s += stage.expert_token_s[0];
        cost.host_expert_token_s += stage.expert_token_s[0];
        on_host(stage.expert_prompt_s[0], stage.expert_prompt_s[helper],
                static_cast<double>(stage.expert_bytes) * touched);
      }
      if (option.kind == kWithoutExperts) hop(homes_.all[home]), hop(homes_.all[home]);
    }
    if (home > 0) hop(homes_.all[home]);
    if (helper > 0 && mode == Mode::kResident) {
      const double copied_s = host_bytes / homes_.all[helper].upload_bytes_per_s + host_pass_on_device_s;
      if (copied_s < host_pass_s) {
        host_pass_s = copied_s;
        plan.op_offload = true;
      }
    }
    cost.pass_s = host_pass_s + device_pass_s + hop_pass_s;
    return cost;
  }

  // What is left of each device becomes a cache for the experts of its own layers, as libllama's moe_cache_size does:
  // hits are computed there, misses uploaded first. Taken where that beats computing them on the CPU. A device that
  // shares the host's memory gains nothing: the experts are there already.
  void cache_experts(const std::vector<StageOption>& chosen, Plan& plan, ComputeCost& compute) const {
    for (size_t h = 1; h < homes_.all.size(); ++h) {
      const Home& home = homes_.all[h];
      DeviceUse& device = plan.devices[h - 1];
      const uint64_t left_bytes = device.memory_bytes - std::min(device.memory_bytes, device.used_bytes());
      double expert_bytes = 0, host_s = 0, hops_s = 0, device_s = 0;
      for (size_t s = 0; s < chosen.size(); ++s) {
        if (chosen[s].home != h || chosen[s].kind != kWithoutExperts) continue;
        expert_bytes += static_cast<double>(stages_[s].expert_bytes);
        host_s += stages_[s].expert_token_s[0];
        hops_s += 2 * hop_seconds(home, 4 * static_cast<double>(model_.n_embd));
        device_s += stages_[s].expert_token_s[h];
      }
      if (expert_bytes <= 0 || home.is_worker || home.shares_ram) continue;
      const double share = static_cast<double>(left_bytes) / expert_bytes;
      const double miss = 1 - expert_hit_rate_lru(model_.n_expert, model_.n_expert_used, share);
      const double cached_s = device_s + miss * expert_bytes * expert_share() / home.upload_bytes_per_s;
      if (cached_s >= host_s + hops_s) continue;
      compute.host_token_s -= host_s;
      compute.host_expert_token_s -= host_s;
      compute.transfer_token_s -= hops_s;
      compute.device_token_s += cached_s;
      device.expert_cache_bytes = std::min(left_bytes, static_cast<uint64_t>(expert_bytes));
      plan.moe_cache_bytes += device.expert_cache_bytes;
    }
  }

  // A prompt goes through in passes small enough that one layer's experts fit the slots.
  ComputeCost cut_to_pool(const ComputeCost& compute, const HostWeights& weights, const Streamed& streamed) const {
    if (weights.expert_bytes <= 0 || weights.n_expert_layers == 0) return compute;
    const double layer_expert_bytes =
        weights.expert_bytes / static_cast<double>(weights.n_expert_layers * std::max<uint64_t>(weights.n_expert, 1));
    const double n_slots = streamed.pool_bytes / layer_expert_bytes;
    if (n_slots >= static_cast<double>(weights.n_expert)) return compute;
    const auto n_tokens = static_cast<uint64_t>(n_slots / static_cast<double>(weights.n_expert_used));
    ComputeCost cut = compute;
    cut.n_pass_tokens = std::clamp<uint64_t>(n_tokens, 1, compute.n_pass_tokens);
    cut.pass_s *= static_cast<double>(cut.n_pass_tokens) / static_cast<double>(compute.n_pass_tokens);
    return cut;
  }

  double load_seconds(const Plan& plan) const {
    const HostUse& host = plan.host;
    double bytes = plan.mode == Mode::kMmap
                       ? 0
                       : static_cast<double>(host.pinned_bytes + host.ring_pool_bytes + host.expert_pool_bytes);
    double seconds = 0;
    for (size_t d = 0; d < plan.devices.size(); ++d) {
      const auto device_bytes = static_cast<double>(plan.devices[d].weight_bytes);
      bytes += device_bytes;
      // Reading and uploading overlap; the slower one decides.
      seconds = std::max(seconds, device_bytes / homes_.all[d + 1].upload_bytes_per_s);
    }
    return std::max(seconds, bytes / homes_.disk.sequential_bytes_per_s);
  }

  // --- the choice

  Result<Plan> choose() {
    const auto wanted = [&](const Evaluated& one) { return !request_.mode || one.plan.mode == *request_.mode; };
    Evaluated* best = nullptr;
    const auto request_s = [](const Evaluated& one) { return one.plan.prediction.request_s; };
    for (Evaluated& one : considered_) {
      if (!one.possible || !wanted(one)) continue;
      // What fits does not stream: equal costs go to the simpler mode, which comes first.
      if (best == nullptr || request_s(one) < request_s(*best) * (1 - 1e-9)) best = &one;
    }
    if (best == nullptr) return nothing_fits(wanted);
    Plan plan = best->plan;
    for (const Evaluated& one : considered_) {
      if (&one == best) continue;
      Candidate other{.name = one.plan.name, .possible = one.possible, .why_not = one.why_not, .prediction = {}};
      if (one.possible) {
        other.prediction = one.plan.prediction;
        const double times = request_s(one) / request_s(*best);
        other.why_not = times < 1 ? "another mode was asked for"
                                  : fmt::format("{} times the time for a request; {}", times_text(times),
                                                one.plan.prediction.decode_bound);
      }
      plan.others.push_back(std::move(other));
    }
    std::stable_sort(plan.others.begin(), plan.others.end(), [](const Candidate& a, const Candidate& b) {
      if (a.possible != b.possible) return a.possible;
      return a.possible && a.prediction.request_s < b.prediction.request_s;
    });
    plan.why = reason(plan);
    plan.doubts = homes_.doubts;
    if (plan.prediction.correction != 1)
      plan.doubts.push_back(
          fmt::format("corrected by {:.2f}: an earlier run here was that much off", plan.prediction.correction));
    return plan;
  }

  static std::string times_text(double times) {
    return times < 1.1 ? fmt::format("{:.3f}", times) : fmt::format("{:.1f}", times);
  }

  std::string reason(const Plan& plan) const {
    const std::string weights = format_bytes(model_.weight_bytes());
    if (request_.mode) return "asked for";
    if (plan.mode == Mode::kMmap)
      return fmt::format("{} of weights do not fit into {}, and the page cache is predicted to be fastest", weights,
                         format_bytes(ram_bytes_));
    const bool on_devices = plan.n_gpu_layers > 0;
    if (plan.mode == Mode::kStream)
      return fmt::format("{} of weights do not fit{}; {} stay and the rest is read ahead", weights,
                         on_devices ? " into memory and devices" : fmt::format(" into {}", format_bytes(ram_bytes_)),
                         format_bytes(model_.weight_bytes() - plan.host.streamed_bytes - plan.host.rows_bytes));
    if (!on_devices) return fmt::format("{} of weights fit into {}", weights, format_bytes(ram_bytes_));
    if (plan.n_gpu_layers == model_.n_layer + 1 && !plan.experts_on_host)
      return fmt::format("all {} of weights fit on the {}", weights, plan.devices.size() > 1 ? "devices" : "device");
    return fmt::format("{} of {} layers fit on devices{}", plan.n_gpu_layers, model_.n_layer + 1,
                       plan.experts_on_host ? ", some without their experts" : "");
  }

  template <typename Wanted>
  Result<Plan> nothing_fits(const Wanted& wanted) const {
    const Evaluated* least = nullptr;
    for (const Evaluated& one : considered_)
      if (wanted(one) && one.memory_bytes_min > 0 &&
          (least == nullptr || one.memory_bytes_min < least->memory_bytes_min))
        least = &one;
    const uint64_t least_bytes = least != nullptr ? round_up(least->memory_bytes_min, MiB) : 0;
    const std::string mode = request_.mode ? fmt::format(" in mode {}", mode_name(*request_.mode)) : "";
    return error(
        Code::kOutOfBudget,
        fmt::format("{} of weights and {} beside them do not fit into {}{}: at least {} of memory is needed; "
                    "raise --ram or lower --context",
                    format_bytes(model_.weight_bytes()), format_bytes(need_.context_bytes() + need_.program_bytes),
                    format_bytes(ram_bytes_), mode, format_bytes(least_bytes)));
  }

  const PlanRequest& request_;
  const GgufModel& model_;
  const Homes homes_;
  const uint64_t ram_bytes_;
  ModelNeed need_;
  uint32_t n_ubatch_ = 512;
  std::vector<Stage> stages_;
  std::vector<Evaluated> considered_;
};

Result<uint64_t> budget(const PlanRequest& request) {
  const uint64_t total = request.machine->ram_bytes_total;
  if (request.ram_bytes == 0) {
    if (total == 0)
      return error(Code::kInvalidArgument, "the profile does not say how much memory the machine has; give --ram");
    const auto share = static_cast<uint64_t>(kElsewhereHeadroomShare * static_cast<double>(total));
    return total - std::min(total / 2, std::max(kElsewhereHeadroomBytesMin, share));
  }
  if (request.ram_bytes < kRamBytesMin || request.ram_bytes > kRamBytesMax)
    return error(Code::kInvalidArgument,
                 fmt::format("a memory of {} is not possible; give {} to {}", format_bytes(request.ram_bytes),
                             format_bytes(kRamBytesMin), format_bytes(kRamBytesMax)));
  return request.ram_bytes;
}

}  // namespace

Result<Plan> make_plan(const PlanRequest& request) {
  if (request.model == nullptr || request.machine == nullptr || request.model->tensors.empty())
    return error(Code::kInvalidArgument, "a plan needs a model and a machine");
  if (request.model->n_layer > request.model->tensors.size())
    return error(Code::kCorrupt, fmt::format("the model claims {} layers and has {} tensors; download it again",
                                             request.model->n_layer, request.model->tensors.size()));
  if (request.n_prompt == 0 || request.n_answer == 0 || request.n_prompt > (1u << 30) || request.n_answer > (1u << 30))
    return error(Code::kInvalidArgument, "a plan needs a prompt and an answer of at least one token");
  ASSIGN_OR_RETURN(const uint64_t ram_bytes, budget(request));
  return Planner(request, ram_bytes).plan();
}

}  // namespace spillway
