// SPDX-License-Identifier: MIT
#include "plan/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

// Tensors of one length share slots.
using Lengths = std::map<uint64_t, std::vector<size_t>, std::greater<>>;  // bytes -> tensors, longest first

uint64_t interior_bytes(const TensorInfo& tensor) {
  return tensor.slice_bytes() > 2 * kPageBytes ? tensor.slice_bytes() - 2 * kPageBytes : 0;
}

bool is_row_table(const TensorInfo& tensor, const PlanInput& input) {
  if (tensor.role != TensorRole::kEmbedding) return false;
  return tensor.name != "token_embd.weight" || !input.tied_embedding;
}

// The pages at a slice's two ends, which neighbours share, stay pinned.
uint64_t edge_bytes(const TensorInfo& tensor) { return tensor.slices * 2 * kPageBytes; }

// First cut: what may stream at all. Dense candidates start out pinned.
struct Candidates {
  Lengths experts, dense;
  uint64_t fixed_bytes = 0;      // too small to stream, and edges
  uint64_t dense_bytes = 0;
};

Candidates sort_tensors(const PlanInput& input, Placement& placement) {
  Candidates found;
  const auto& tensors = *input.tensors;
  placement.tiers.assign(tensors.size(), Tier::kPinned);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = tensors[i];
    const bool streamable = interior_bytes(tensor) >= std::max(input.extent_bytes_min, kPageBytes);
    if (streamable && is_row_table(tensor, input)) {
      placement.tiers[i] = Tier::kRows;
      placement.rows_bytes += tensor.range.bytes;
    } else if (streamable && tensor.slices > 1) {
      placement.tiers[i] = Tier::kExperts;
      placement.expert_tensor_bytes += tensor.range.bytes;
      found.experts[tensor.slice_bytes()].push_back(i);
      found.fixed_bytes += edge_bytes(tensor);
    } else if (streamable) {
      found.dense[tensor.range.bytes].push_back(i);
      found.dense_bytes += tensor.range.bytes;
    } else {
      found.fixed_bytes += tensor.range.bytes + 2 * kPageBytes;
    }
  }
  return found;
}

uint64_t expert_pool_bytes_min(const Lengths& experts, const PlanInput& input) {
  uint64_t sum = 0;
  for (const auto& [bytes, members] : experts) {
    uint64_t n_slices = 0;
    for (size_t i : members) n_slices += (*input.tensors)[i].slices;
    sum += std::min(n_slices, expert_slots_min(input.n_expert_used)) * bytes;
  }
  return sum;
}

uint64_t ring_bytes(const Lengths& streamed, uint32_t n_slots) {
  uint64_t sum = 0;
  for (const auto& [bytes, members] : streamed) sum += std::min<uint64_t>(n_slots, members.size()) * bytes;
  return sum;
}

// Chooses dense tensors to stream until at least `bytes` do: whole lengths at a time, the one with most bytes first (few
// lengths, few slots), and of the last one every n-th, evenly over the layers, so that reading and computing alternate.
Lengths choose_streamed(const Lengths& dense, uint64_t bytes) {
  std::vector<const Lengths::value_type*> lengths;
  for (const auto& length : dense) lengths.push_back(&length);
  std::stable_sort(lengths.begin(), lengths.end(), [](const auto* a, const auto* b) {
    return a->first * a->second.size() > b->first * b->second.size();
  });
  Lengths streamed;
  for (const auto* length : lengths) {
    if (bytes == 0) break;
    const auto& [one, members] = *length;
    const uint64_t n = std::min<uint64_t>((bytes + one - 1) / one, members.size());
    std::vector<size_t>& chosen = streamed[one];
    for (uint64_t k = 0; k < n; ++k) chosen.push_back(members[k * members.size() / n]);
    bytes -= std::min(bytes, n * one);
  }
  return streamed;
}

// Streams as little of the dense weights as `available_bytes` for dense weights and their ring allow; grows the streamed
// part until it and its ring fit. nullopt: not even streaming all of them does.
std::optional<Lengths> fit_dense(const Candidates& candidates, uint64_t available_bytes, uint32_t n_slots) {
  if (candidates.dense_bytes <= available_bytes) return Lengths{};
  uint64_t stream_bytes = candidates.dense_bytes - available_bytes;
  for (int round = 0; round < 64; ++round) {
    Lengths streamed = choose_streamed(candidates.dense, stream_bytes);
    uint64_t streamed_bytes = 0, n_edges = 0;
    for (const auto& [bytes, members] : streamed) {
      streamed_bytes += bytes * members.size();
      n_edges += members.size();
    }
    const uint64_t needed = candidates.dense_bytes - streamed_bytes + ring_bytes(streamed, n_slots) + n_edges * 2 * kPageBytes;
    if (needed <= available_bytes) return streamed;
    if (streamed_bytes == candidates.dense_bytes) return std::nullopt;
    stream_bytes = std::max(stream_bytes, streamed_bytes) + (needed - available_bytes);
  }
  return std::nullopt;
}

void predict(const PlanInput& input, Placement& placement) {
  double expert_active_bytes = 0, ring_read_bytes = 0;
  const auto& tensors = *input.tensors;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const double active = active_bytes_of(tensors[i], input);
    placement.active_bytes += active;
    if (placement.mode != Mode::kStream) continue;
    if (placement.tiers[i] == Tier::kExperts) expert_active_bytes += active;
    if (placement.tiers[i] == Tier::kRing) ring_read_bytes += static_cast<double>(tensors[i].range.bytes);
  }
  const double expert_pool_bytes = static_cast<double>(placement.pool_bytes - placement.ring_pool_bytes);
  // Without knowing the routing, every expert is as likely as the next: the hit rate is the share in memory.
  const double hit_rate = placement.expert_tensor_bytes == 0
                              ? 0
                              : std::min(1.0, expert_pool_bytes / static_cast<double>(placement.expert_tensor_bytes));
  const double missed_bytes = expert_active_bytes * (1 - hit_rate);
  placement.bytes_read_per_token = ring_read_bytes + missed_bytes;
  if (input.compute_bytes_per_s <= 0 || input.disk_bytes_per_s <= 0) return;
  const double compute_s = placement.active_bytes / input.compute_bytes_per_s;
  // Dense reads are certain and overlap all computing. Of an expert's reads only the last matrix is waited for idly, but
  // nothing of the layer before overlaps them: the expert's own computing does, the rest does not.
  const double expert_compute_s = expert_active_bytes / input.compute_bytes_per_s;
  const double missed_s = missed_bytes / input.disk_bytes_per_s;
  const double ring_s = ring_read_bytes / input.disk_bytes_per_s;
  const double exposed_compute_s = compute_s - expert_compute_s * 2 / 3;
  const double token_s = std::max(compute_s, std::max(ring_s, missed_bytes > 0 ? exposed_compute_s : 0) + missed_s);
  placement.predicted_tok_per_s = 1 / token_s;
}

}  // namespace

uint64_t expert_slots_min(uint64_t n_expert_used) { return 2 * std::max<uint64_t>(n_expert_used, 1); }

const char* mode_name(Mode mode) {
  switch (mode) {
    case Mode::kResident: return "resident";
    case Mode::kStream: return "stream";
    case Mode::kMmap: return "mmap";
  }
  return "?";
}

const char* tier_name(Tier tier) {
  switch (tier) {
    case Tier::kPinned: return "pinned";
    case Tier::kRing: return "ring";
    case Tier::kExperts: return "experts";
    case Tier::kRows: return "rows";
  }
  return "?";
}

double active_bytes_of(const TensorInfo& tensor, const PlanInput& input) {
  if (is_row_table(tensor, input)) return 0;
  const auto bytes = static_cast<double>(tensor.range.bytes);
  if (tensor.slices == 1) return bytes;
  return bytes * static_cast<double>(std::min<uint64_t>(std::max<uint64_t>(input.n_expert_used, 1), tensor.slices)) / tensor.slices;
}

Result<Placement> place(const PlanInput& input) {
  Placement placement;
  const bool fits = input.resident_bytes <= input.weights_budget_bytes;
  if (input.mode == Mode::kResident && !fits)
    return error(Code::kInvalidArgument,
                 fmt::format("the weights need {} and the budget leaves {} for them; raise --ram, or use --mode stream",
                             format_bytes(input.resident_bytes), format_bytes(input.weights_budget_bytes)));
  if (input.mode == Mode::kMmap || (!input.mode && fits) || input.mode == Mode::kResident) {
    placement.mode = input.mode.value_or(Mode::kResident);
    placement.why = input.mode ? "asked for" : fmt::format("the weights ({}) fit the budget", format_bytes(input.resident_bytes));
    placement.pinned_bytes = placement.mode == Mode::kResident ? input.resident_bytes : 0;
    predict(input, placement);
    if (placement.mode == Mode::kResident && input.compute_bytes_per_s > 0)
      placement.predicted_tok_per_s = input.compute_bytes_per_s / std::max(1.0, placement.active_bytes);
    return placement;
  }

  placement.mode = Mode::kStream;
  placement.why = input.mode ? "asked for"
                             : fmt::format("the weights need {}, the budget leaves {}", format_bytes(input.resident_bytes),
                                           format_bytes(input.weights_budget_bytes));
  const Candidates candidates = sort_tensors(input, placement);
  const uint64_t experts_min = expert_pool_bytes_min(candidates.experts, input);
  uint64_t ring_all_bytes_min = ring_bytes(candidates.dense, kRingSlotsMin);
  for (const auto& [bytes, members] : candidates.dense) ring_all_bytes_min += members.size() * 2 * kPageBytes;
  placement.weights_bytes_min = candidates.fixed_bytes + experts_min + std::min(ring_all_bytes_min, candidates.dense_bytes);
  if (placement.weights_bytes_min > input.weights_budget_bytes)
    return error(Code::kOutOfBudget, fmt::format("streaming needs at least {} for weights and the budget leaves {}",
                                                 format_bytes(placement.weights_bytes_min),
                                                 format_bytes(input.weights_budget_bytes)));

  const uint64_t dense_available_bytes = input.weights_budget_bytes - candidates.fixed_bytes - experts_min;
  std::optional<Lengths> streamed = fit_dense(candidates, dense_available_bytes, kRingSlotsWanted);
  uint32_t n_slots = kRingSlotsWanted;
  while (!streamed && n_slots > kRingSlotsMin) streamed = fit_dense(candidates, dense_available_bytes, --n_slots);
  if (!streamed) streamed = candidates.dense;
  for (const auto& [bytes, members] : *streamed)
    for (size_t i : members) {
      placement.tiers[i] = Tier::kRing;
      placement.ring_tensor_bytes += bytes;
    }
  placement.ring_pool_bytes = ring_bytes(*streamed, n_slots);
  uint64_t n_edges = 0;
  for (const auto& [bytes, members] : *streamed) n_edges += members.size();
  placement.pinned_bytes = candidates.fixed_bytes + candidates.dense_bytes - placement.ring_tensor_bytes + n_edges * 2 * kPageBytes;
  const uint64_t left_bytes = input.weights_budget_bytes - std::min(input.weights_budget_bytes, placement.pinned_bytes + placement.ring_pool_bytes);
  placement.pool_bytes = placement.ring_pool_bytes + std::min(left_bytes, placement.expert_tensor_bytes);
  predict(input, placement);
  return placement;
}

}  // namespace spillway
