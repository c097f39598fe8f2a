// SPDX-License-Identifier: MIT
#include "store/page_pool.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "store/tuning.h"

namespace spillway {

SlotClasses choose_slot_classes(const std::vector<Extent>& extents) {
  SlotClasses classes;
  classes.class_of.resize(extents.size());
  for (const Pool pool : {Pool::kRing, Pool::kExperts}) {
    std::map<uint64_t, std::vector<size_t>, std::greater<>> by_length;  // longest first
    for (size_t i = 0; i < extents.size(); ++i)
      if (extents[i].pool == pool) by_length[extents[i].pages.bytes].push_back(i);
    uint64_t current_bytes = 0;
    for (const auto& [bytes, members] : by_length) {
      if (static_cast<double>(bytes) < kSlotFillMin * static_cast<double>(current_bytes) || current_bytes == 0) {
        current_bytes = bytes;
        classes.slot_bytes.push_back(pool == Pool::kRing ? ring_slot_bytes(bytes) : bytes);
      }
      for (size_t i : members) classes.class_of[i] = static_cast<uint32_t>(classes.slot_bytes.size() - 1);
    }
  }
  return classes;
}

std::vector<uint32_t> deal_slots(const std::vector<uint64_t>& slot_bytes, const std::vector<uint32_t>& n_extents,
                                 const std::vector<uint32_t>& slots_min, uint64_t budget_bytes) {
  std::vector<uint32_t> n_slots(slot_bytes.size());
  uint64_t used_bytes = 0, wanted_bytes = 0;
  for (size_t c = 0; c < slot_bytes.size(); ++c) {
    n_slots[c] = std::min(slots_min[c], n_extents[c]);
    used_bytes += n_slots[c] * slot_bytes[c];
    wanted_bytes += (n_extents[c] - n_slots[c]) * slot_bytes[c];
  }
  if (used_bytes > budget_bytes) return {};
  const double share =
      wanted_bytes == 0
          ? 0.0
          : std::min(1.0, static_cast<double>(budget_bytes - used_bytes) / static_cast<double>(wanted_bytes));
  for (size_t c = 0; c < slot_bytes.size(); ++c) {
    const auto more = static_cast<uint32_t>(share * (n_extents[c] - n_slots[c]));
    n_slots[c] += more;
    used_bytes += more * slot_bytes[c];
  }
  // What rounding left over.
  for (size_t c = 0; c < slot_bytes.size(); ++c) {
    while (n_slots[c] < n_extents[c] && used_bytes + slot_bytes[c] <= budget_bytes) {
      ++n_slots[c];
      used_bytes += slot_bytes[c];
    }
  }
  return n_slots;
}

PagePool::PagePool(std::vector<uint64_t> slot_bytes, std::vector<uint32_t> n_slots)
    : slot_bytes_(std::move(slot_bytes)),
      n_slots_(std::move(n_slots)),
      made_(slot_bytes_.size()),
      free_(slot_bytes_.size()) {
  CHECK(slot_bytes_.size() == n_slots_.size());
}

uint64_t PagePool::bytes_max() const {
  uint64_t sum = 0;
  for (size_t c = 0; c < slot_bytes_.size(); ++c) sum += slot_bytes_[c] * n_slots_[c];
  return sum;
}

uint64_t PagePool::bytes_made() const {
  uint64_t sum = 0;
  for (size_t c = 0; c < slot_bytes_.size(); ++c) sum += slot_bytes_[c] * made_[c];
  return sum;
}

Result<SlotId> PagePool::take(uint32_t slot_class) {
  std::vector<SlotId>& free = free_.at(slot_class);
  if (!free.empty()) {
    const SlotId slot = free.back();
    free.pop_back();
    return slot;
  }
  if (made_[slot_class] >= n_slots_[slot_class]) return SlotId::kNone;
  ASSIGN_OR_RETURN(Region region, Region::allocate(slot_bytes_[slot_class], 0));
  ++made_[slot_class];
  if (unused_.empty()) {
    unused_.push_back(static_cast<SlotId>(slots_.size()));
    slots_.emplace_back();
  }
  const SlotId slot = unused_.back();
  unused_.pop_back();
  slots_[static_cast<uint32_t>(slot)] = {std::move(region), slot_class};
  return slot;
}

SlotId PagePool::take_surplus(uint32_t slot_class) {
  std::vector<SlotId>& free = free_.at(slot_class);
  if (free.empty() || !has_surplus(slot_class)) return SlotId::kNone;
  const SlotId slot = free.back();
  free.pop_back();
  return slot;
}

Region PagePool::remove(SlotId slot) {
  Slot& removed = slots_[static_cast<uint32_t>(slot)];
  --made_[removed.slot_class];
  unused_.push_back(slot);
  return std::exchange(removed.region, Region());
}

void PagePool::give_back(SlotId slot) { free_[slots_[static_cast<uint32_t>(slot)].slot_class].push_back(slot); }

}  // namespace spillway
