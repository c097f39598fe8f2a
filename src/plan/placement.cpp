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
struct Streamable {
  Lengths experts, dense;
  uint64_t fixed_bytes = 0;  // too small to stream, and edges
  uint64_t dense_bytes = 0;
};

Streamable sort_tensors(const PlanInput& input, Placement& placement) {
  Streamable found;
  const auto& tensors = *input.tensors;
  placement.tiers.assign(tensors.size(), Tier::kPinned);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = tensors[i];
    const bool streamable = interior_bytes(tensor) >= std::max(input.extent_bytes_min, kPageBytes);
    if (!input.on_device.empty() && input.on_device[i]) {
      placement.tiers[i] = Tier::kDevice;
      placement.device_bytes += tensor.range.bytes;
    } else if (streamable && is_row_table(tensor, input)) {
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

// What streaming a whole length costs: its slots, and the edges of its tensors.
uint64_t ring_cost(const Lengths::value_type& length, uint32_t n_slots) {
  return n_slots * ring_slot_bytes(length.first) + length.second.size() * 2 * kPageBytes;
}

// The lengths that take less memory streamed than pinned, the one with most bytes first: few lengths, few slots. A
// length with no more tensors than slots never does.
std::vector<const Lengths::value_type*> worth_streaming(const Lengths& dense, uint32_t n_slots) {
  std::vector<const Lengths::value_type*> lengths;
  for (const auto& length : dense)
    if (ring_cost(length, n_slots) < length.first * length.second.size()) lengths.push_back(&length);
  std::stable_sort(lengths.begin(), lengths.end(), [](const auto* a, const auto* b) {
    return a->first * a->second.size() > b->first * b->second.size();
  });
  return lengths;
}

// The least memory for dense weights: everything streams that takes less that way.
uint64_t dense_bytes_min(const Streamable& candidates, uint32_t n_slots) {
  uint64_t sum = candidates.dense_bytes;
  for (const auto* length : worth_streaming(candidates.dense, n_slots))
    sum -= length->first * length->second.size() - ring_cost(*length, n_slots);
  return sum;
}

struct DensePlan {
  Lengths streamed;
  uint64_t ring_pool_bytes = 0, edge_bytes = 0;
};

// Streams as few dense tensors as `available_bytes` for dense weights and their ring allow: whole lengths at a time,
// and of the last one every n-th, evenly over the layers, so that reading and computing alternate. Requires
// dense_bytes_min().
//
// Memory goes to slots first, up to kRingSlotsWanted, and then to pinning. So with more memory never more streams, and
// no plan is worse than one for less.
DensePlan plan_dense(const Streamable& candidates, uint64_t available_bytes) {
  DensePlan plan;
  uint32_t n_slots = kRingSlotsWanted;
  while (n_slots > kRingSlotsMin && dense_bytes_min(candidates, n_slots) > available_bytes) --n_slots;
  if (n_slots < kRingSlotsWanted) available_bytes = 0;  // stream all: the next slots come before pinning
  uint64_t needed_bytes = candidates.dense_bytes;
  for (const auto* length : worth_streaming(candidates.dense, n_slots)) {
    const auto& [bytes, members] = *length;
    uint64_t n = 0;
    for (; n < members.size() && needed_bytes > available_bytes; ++n)
      needed_bytes += 2 * kPageBytes + (n < n_slots ? ring_slot_bytes(bytes) : 0) - bytes;
    for (uint64_t k = 0; k < n; ++k) plan.streamed[bytes].push_back(members[k * members.size() / n]);
    plan.ring_pool_bytes += std::min<uint64_t>(n, n_slots) * ring_slot_bytes(bytes);
    plan.edge_bytes += n * 2 * kPageBytes;
  }
  return plan;
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
  // Dense reads are certain and overlap all computing. Of an expert's reads only the last matrix is waited for idly,
  // but nothing of the layer before overlaps them: the expert's own computing does, the rest does not.
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
    case Mode::kResident:
      return "resident";
    case Mode::kStream:
      return "stream";
    case Mode::kMmap:
      return "mmap";
  }
  return "?";
}

const char* tier_name(Tier tier) {
  switch (tier) {
    case Tier::kPinned:
      return "pinned";
    case Tier::kRing:
      return "ring";
    case Tier::kExperts:
      return "experts";
    case Tier::kRows:
      return "rows";
    case Tier::kDevice:
      return "device";
  }
  return "?";
}

double active_bytes_of(const TensorInfo& tensor, const PlanInput& input) {
  if (is_row_table(tensor, input)) return 0;
  const auto bytes = static_cast<double>(tensor.range.bytes);
  if (tensor.slices == 1) return bytes;
  return bytes * static_cast<double>(std::min<uint64_t>(std::max<uint64_t>(input.n_expert_used, 1), tensor.slices)) /
         tensor.slices;
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
    placement.why =
        input.mode ? "asked for" : fmt::format("the weights ({}) fit the budget", format_bytes(input.resident_bytes));
    placement.pinned_bytes = placement.mode == Mode::kResident ? input.resident_bytes : 0;
    predict(input, placement);
    if (placement.mode == Mode::kResident && input.compute_bytes_per_s > 0)
      placement.predicted_tok_per_s = input.compute_bytes_per_s / std::max(1.0, placement.active_bytes);
    return placement;
  }

  placement.mode = Mode::kStream;
  placement.why = input.mode
                      ? "asked for"
                      : fmt::format("the weights need {}, the budget leaves {}", format_bytes(input.resident_bytes),
                                    format_bytes(input.weights_budget_bytes));
  const Streamable candidates = sort_tensors(input, placement);
  const uint64_t experts_min = expert_pool_bytes_min(candidates.experts, input);
  placement.weights_bytes_min = candidates.fixed_bytes + experts_min + dense_bytes_min(candidates, kRingSlotsMin);
  if (placement.weights_bytes_min > input.weights_budget_bytes)
    return error(Code::kOutOfBudget,
                 fmt::format("streaming needs at least {} for weights and the budget leaves {}",
                             format_bytes(placement.weights_bytes_min), format_bytes(input.weights_budget_bytes)));

  const DensePlan dense = plan_dense(candidates, input.weights_budget_bytes - candidates.fixed_bytes - experts_min);
  for (const auto& [bytes, members] : dense.streamed)
    for (size_t i : members) {
      placement.tiers[i] = Tier::kRing;
      placement.ring_tensor_bytes += bytes;
    }
  placement.ring_pool_bytes = dense.ring_pool_bytes;
  placement.pinned_bytes =
      candidates.fixed_bytes + candidates.dense_bytes - placement.ring_tensor_bytes + dense.edge_bytes;
  // Dense weights come first, being read for every token. While some of them stream, what is left over is less than one
  // of them; it is not promised to the experts, or a little more budget could take it from them again.
  const uint64_t left_bytes =
      dense.streamed.empty() ? input.weights_budget_bytes - placement.pinned_bytes : experts_min;
  placement.pool_bytes = placement.ring_pool_bytes + std::min(left_bytes, placement.expert_tensor_bytes);
  predict(input, placement);
  return placement;
}

}  // namespace spillway
