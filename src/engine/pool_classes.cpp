// SPDX-License-Identifier: MIT
#include "engine/pool_classes.h"

#include <algorithm>

#include "plan/placement.h"
#include "plan/tuning.h"

namespace spillway {

std::vector<uint32_t> PoolClasses::deal(Pool pool, const std::vector<uint32_t>& at_most, uint64_t bytes) const {
  std::vector<uint32_t> members(at_most.size());
  for (size_t c = 0; c < members.size(); ++c)
    if (is_ring[c] == (pool == Pool::kRing)) members[c] = at_most[c];
  return deal_slots(slot_bytes, members, least, bytes);
}

PoolClasses pool_classes(const std::vector<Extent>& extents, uint64_t n_expert_used) {
  SlotClasses slots = choose_slot_classes(extents);
  PoolClasses classes;
  classes.class_of = std::move(slots.class_of);
  classes.slot_bytes = std::move(slots.slot_bytes);
  const size_t n_class = classes.slot_bytes.size();
  classes.n_extents.resize(n_class);
  classes.is_ring.resize(n_class);
  for (size_t e = 0; e < extents.size(); ++e) {
    ++classes.n_extents[classes.class_of[e]];
    classes.is_ring[classes.class_of[e]] = extents[e].pool == Pool::kRing;
  }
  for (size_t c = 0; c < n_class; ++c) {
    const uint64_t wanted = classes.is_ring[c] ? kRingSlotsMin : expert_slots_min(n_expert_used);
    classes.least.push_back(static_cast<uint32_t>(std::min<uint64_t>(wanted, classes.n_extents[c])));
  }
  return classes;
}

}  // namespace spillway
