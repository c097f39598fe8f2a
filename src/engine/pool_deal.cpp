// SPDX-License-Identifier: MIT
#include "engine/pool_deal.h"

#include <algorithm>

#include "plan/tuning.h"
#include "store/page_pool.h"

namespace spillway {

PoolDeal::PoolDeal(const Layout& layout, uint64_t n_expert_used) : planned_(layout.n_slots) {
  const SlotClasses classes = choose_slot_classes(layout.extents);
  const size_t n_class = classes.slot_bytes.size();
  slot_bytes_ = classes.slot_bytes;
  n_extents_.resize(n_class);
  least_.resize(n_class);
  is_ring_.resize(n_class);
  for (size_t e = 0; e < layout.extents.size(); ++e) {
    ++n_extents_[classes.class_of[e]];
    is_ring_[classes.class_of[e]] = layout.extents[e].pool == Pool::kRing;
  }
  for (size_t c = 0; c < n_class; ++c) {
    const uint64_t wanted = is_ring_[c] ? kRingSlotsMin : expert_slots_min(n_expert_used);
    least_[c] = std::min(static_cast<uint32_t>(wanted), std::min(n_extents_[c], planned_[c]));
    (is_ring_[c] ? ring_bytes_min_ : experts_bytes_min_) += least_[c] * slot_bytes_[c];
    if (is_ring_[c]) ring_planned_bytes_ += planned_[c] * slot_bytes_[c];
    bytes_max_ += n_extents_[c] * slot_bytes_[c];
  }
  bytes_min_ = ring_bytes_min_ + experts_bytes_min_;
}

std::vector<uint32_t> PoolDeal::slots(uint64_t pool_bytes) const {
  if (pool_bytes <= bytes_min_) return least_;
  std::vector<uint32_t> ring, experts;
  if (experts_bytes_min_ == 0) {
    ring = deal(true, n_extents_, pool_bytes);
  } else {
    ring = deal(true, planned_, std::min(ring_planned_bytes_, pool_bytes - experts_bytes_min_));
    uint64_t left_bytes = pool_bytes;
    for (size_t c = 0; c < ring.size(); ++c) left_bytes -= ring[c] * slot_bytes_[c];
    experts = deal(false, n_extents_, left_bytes);
  }
  std::vector<uint32_t> n_slots = least_;
  for (size_t c = 0; c < n_slots.size(); ++c) n_slots[c] = is_ring_[c] ? ring[c] : experts[c];
  return n_slots;
}

// Of one pool's classes; the others get none.
std::vector<uint32_t> PoolDeal::deal(bool ring, const std::vector<uint32_t>& at_most, uint64_t bytes) const {
  std::vector<uint32_t> members(at_most.size());
  for (size_t c = 0; c < members.size(); ++c)
    if (is_ring_[c] == ring) members[c] = at_most[c];
  return deal_slots(slot_bytes_, members, least_, bytes);
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
