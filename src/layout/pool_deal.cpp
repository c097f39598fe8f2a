// SPDX-License-Identifier: MIT
#include "layout/pool_deal.h"

#include <algorithm>

#include "layout/tuning.h"

namespace spillway {

PoolDeal::PoolDeal(const Layout& layout)
    : classes_(layout.classes), planned_(layout.n_slots), unit_bytes_(layout.unit_bytes) {
  uint64_t whole_slot_bytes = 0;
  for (size_t c = 0; c < classes_.size(); ++c) {
    SlotClass& slot_class = classes_[c];
    n_extents_.push_back(slot_class.n_extents);
    if (slot_class.pool == Pool::kWhole) {
      whole_slot_bytes = slot_class.slot_bytes;
      continue;
    }
    slot_class.n_slots_min = std::min(slot_class.n_slots_min, planned_[c]);
    const uint64_t least_bytes = area_bytes(slot_class, slot_class.n_slots_min, unit_bytes_);
    (slot_class.pool == Pool::kRing ? ring_bytes_min_ : experts_bytes_min_) += least_bytes;
    if (slot_class.pool == Pool::kRing) ring_planned_bytes_ += area_bytes(slot_class, planned_[c], unit_bytes_);
    bytes_max_ += area_bytes(slot_class, slot_class.n_extents, unit_bytes_);
  }
  bytes_min_ = ring_bytes_min_ + experts_bytes_min_;
  const bool few = kWholeSlots * whole_slot_bytes > layout.pool_bytes / 4;
  for (SlotClass& slot_class : classes_)
    if (slot_class.pool == Pool::kWhole) {
      slot_class.n_slots_min = std::min(few ? kWholeSlots - 1 : kWholeSlots, slot_class.n_extents);
      whole_bytes_ = area_bytes(slot_class, slot_class.n_slots_min, unit_bytes_);
    }
}

std::vector<uint32_t> PoolDeal::routed_slots(uint64_t pool_bytes) const {
  if (pool_bytes == 0) return std::vector<uint32_t>(classes_.size());
  if (pool_bytes <= bytes_min_) {
    std::vector<uint32_t> least;
    for (const SlotClass& slot_class : classes_)
      least.push_back(slot_class.pool == Pool::kWhole ? 0 : slot_class.n_slots_min);
    return least;
  }
  if (experts_bytes_min_ == 0) return deal_slots(classes_, Pool::kRing, n_extents_, pool_bytes, unit_bytes_);
  std::vector<uint32_t> n_slots = deal_slots(
      classes_, Pool::kRing, planned_, std::min(ring_planned_bytes_, pool_bytes - experts_bytes_min_), unit_bytes_);
  const std::vector<uint32_t> experts =
      deal_slots(classes_, Pool::kExperts, n_extents_, pool_bytes - bytes(n_slots), unit_bytes_);
  for (size_t c = 0; c < n_slots.size(); ++c) n_slots[c] += experts[c];
  return n_slots;
}

bool PoolDeal::has_room_for_whole(uint64_t pool_bytes) const {
  return whole_bytes_ > 0 && pool_bytes >= bytes_min_ + whole_bytes_;
}

std::vector<uint32_t> PoolDeal::slots(uint64_t pool_bytes, PassKind kind) const {
  if (kind == PassKind::kRouted || !has_room_for_whole(pool_bytes)) return routed_slots(pool_bytes);
  std::vector<uint32_t> n_slots = routed_slots(pool_bytes - whole_bytes_);
  for (size_t c = 0; c < n_slots.size(); ++c)
    if (classes_[c].pool == Pool::kWhole) n_slots[c] = classes_[c].n_slots_min;
  return n_slots;
}

uint64_t PoolDeal::bytes(std::span<const uint32_t> n_slots) const {
  uint64_t sum = 0;
  for (size_t c = 0; c < classes_.size(); ++c) sum += area_bytes(classes_[c], n_slots[c], unit_bytes_);
  return sum;
}

size_t routed_tokens_max(const Layout& layout, const std::vector<TensorInfo>& tensors, uint64_t n_expert_used,
                         std::span<const uint32_t> n_slots) {
  size_t limit = 0;
  for (size_t t = 0; t < tensors.size(); ++t) {
    if (layout.tiers[t] != Tier::kExperts) continue;
    const uint32_t n_here = n_slots[layout.extents[layout.first_extent[t]].slot_class];
    if (n_here >= tensors[t].slices) continue;
    const size_t n = std::max<size_t>(1, n_here / std::max<size_t>(1, n_expert_used));
    limit = limit == 0 ? n : std::min(limit, n);
  }
  return limit;
}

}  // namespace spillway
