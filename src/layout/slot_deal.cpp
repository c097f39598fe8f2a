// SPDX-License-Identifier: MIT
#include "layout/slot_deal.h"

#include <algorithm>
#include <map>

namespace spillway {
namespace {

// At most a tenth of a slot lies idle.
constexpr double kSlotFillMin = 0.9;

}  // namespace

uint64_t area_bytes(const SlotClass& slot_class, uint32_t n_slots, uint64_t unit_bytes) {
  return round_up(n_slots * slot_class.slot_bytes, unit_bytes);
}

std::vector<uint32_t> add_classes(const std::vector<uint64_t>& lengths, Pool pool, std::vector<SlotClass>& classes) {
  std::map<uint64_t, std::vector<size_t>, std::greater<>> by_length;  // longest first
  for (size_t i = 0; i < lengths.size(); ++i) by_length[lengths[i]].push_back(i);
  std::vector<uint32_t> class_of(lengths.size());
  uint64_t longest_bytes = 0;
  for (const auto& [bytes, members] : by_length) {
    if (longest_bytes == 0 || static_cast<double>(bytes) < kSlotFillMin * static_cast<double>(longest_bytes)) {
      longest_bytes = bytes;
      classes.push_back({.pool = pool, .slot_bytes = bytes});
    }
    for (const size_t i : members) class_of[i] = static_cast<uint32_t>(classes.size() - 1);
  }
  return class_of;
}

std::vector<uint32_t> deal_slots(const std::vector<SlotClass>& classes, Pool pool,
                                 const std::vector<uint32_t>& n_slots_max, uint64_t budget_bytes, uint64_t unit_bytes) {
  std::vector<uint32_t> n_slots(classes.size());
  const auto used_bytes = [&] {
    uint64_t sum = 0;
    for (size_t c = 0; c < classes.size(); ++c) sum += area_bytes(classes[c], n_slots[c], unit_bytes);
    return sum;
  };
  uint64_t wanted_bytes = 0;
  for (size_t c = 0; c < classes.size(); ++c) {
    if (classes[c].pool != pool) continue;
    n_slots[c] = std::min(classes[c].n_slots_min, n_slots_max[c]);
    wanted_bytes += (n_slots_max[c] - n_slots[c]) * classes[c].slot_bytes;
  }
  const uint64_t least_bytes = used_bytes();
  if (least_bytes > budget_bytes) return {};
  const double share =
      wanted_bytes == 0
          ? 0.0
          : std::min(1.0, static_cast<double>(budget_bytes - least_bytes) / static_cast<double>(wanted_bytes));
  std::vector<uint32_t> least = n_slots;
  for (size_t c = 0; c < classes.size(); ++c)
    if (classes[c].pool == pool) n_slots[c] += static_cast<uint32_t>(share * (n_slots_max[c] - n_slots[c]));
  // Whole units are charged: a class or the other may have to give one slot back ...
  for (size_t c = classes.size(); c-- > 0 && used_bytes() > budget_bytes;)
    while (n_slots[c] > least[c] && used_bytes() > budget_bytes) --n_slots[c];
  // ... and what rounding left over is dealt out.
  for (size_t c = 0; c < classes.size(); ++c) {
    if (classes[c].pool != pool) continue;
    const uint64_t others_bytes = used_bytes() - area_bytes(classes[c], n_slots[c], unit_bytes);
    while (n_slots[c] < n_slots_max[c] &&
           others_bytes + area_bytes(classes[c], n_slots[c] + 1, unit_bytes) <= budget_bytes)
      ++n_slots[c];
  }
  return n_slots;
}

}  // namespace spillway
