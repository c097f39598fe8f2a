// SPDX-License-Identifier: MIT
#include "engine/pool_deal.h"

#include <algorithm>

namespace spillway {

PoolDeal::PoolDeal(const Layout& layout, uint64_t n_expert_used)
    : classes_(pool_classes(layout.extents, n_expert_used)), planned_(layout.n_slots) {
  for (size_t c = 0; c < planned_.size(); ++c) {
    const uint64_t slot_bytes = classes_.slot_bytes[c];
    classes_.least[c] = std::min(classes_.least[c], planned_[c]);
    (classes_.is_ring[c] ? ring_bytes_min_ : experts_bytes_min_) += classes_.least[c] * slot_bytes;
    if (classes_.is_ring[c]) ring_planned_bytes_ += planned_[c] * slot_bytes;
    bytes_max_ += classes_.n_extents[c] * slot_bytes;
  }
  bytes_min_ = ring_bytes_min_ + experts_bytes_min_;
}

std::vector<uint32_t> PoolDeal::slots(uint64_t pool_bytes) const {
  if (pool_bytes <= bytes_min_) return classes_.least;
  if (experts_bytes_min_ == 0) return classes_.deal(Pool::kRing, classes_.n_extents, pool_bytes);
  std::vector<uint32_t> n_slots =
      classes_.deal(Pool::kRing, planned_, std::min(ring_planned_bytes_, pool_bytes - experts_bytes_min_));
  uint64_t left_bytes = pool_bytes;
  for (size_t c = 0; c < n_slots.size(); ++c) left_bytes -= n_slots[c] * classes_.slot_bytes[c];
  const std::vector<uint32_t> experts = classes_.deal(Pool::kExperts, classes_.n_extents, left_bytes);
  for (size_t c = 0; c < n_slots.size(); ++c)
    if (!classes_.is_ring[c]) n_slots[c] = experts[c];
  return n_slots;
}

size_t tokens_per_pass_max(const GgufModel& model, const Placement& placement, const Layout& layout,
                           std::span<const uint32_t> n_slots) {
  size_t limit = 0;
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    if (placement.tiers[t] != Tier::kExperts) continue;
    const uint32_t n_here = n_slots[layout.slot_class[layout.first_extent[t]]];
    if (n_here >= model.tensors[t].slices) continue;
    const size_t n = std::max<size_t>(1, n_here / std::max<size_t>(1, model.n_expert_used));
    limit = limit == 0 ? n : std::min(limit, n);
  }
  return limit;
}

}  // namespace spillway
