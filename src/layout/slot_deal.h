// SPDX-License-Identifier: MIT
// Memory for slots: which lengths share them, and how many of each a number of bytes gives. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "layout/extent.h"

namespace spillway {

// Slots of one length, side by side in an area of their own.
struct SlotClass {
  Pool pool = Pool::kRing;
  uint64_t slot_bytes = 0;   // a multiple of 4096
  uint32_t n_extents = 0;    // that may lie in them
  uint32_t n_slots_min = 0;  // what one operation needs while the next one's weights are read
};

// What `n_slots` slots of the class are charged: an area ends with a whole unit.
uint64_t area_bytes(const SlotClass& slot_class, uint32_t n_slots, uint64_t unit_bytes);

// For each of `lengths` the class that serves it: lengths share the slots of the longest that they fill to nine tenths.
// Appends the classes, longest first, without numbers of extents.
std::vector<uint32_t> add_classes(const std::vector<uint64_t>& lengths, Pool pool, std::vector<SlotClass>& classes);

// Slots for the classes of one pool, none for the others: each its least, the rest in proportion to what each class
// would need to hold all of its extents, and no more than `n_slots_max[c]`. Empty when not even the least fits.
std::vector<uint32_t> deal_slots(const std::vector<SlotClass>& classes, Pool pool,
                                 const std::vector<uint32_t>& n_slots_max, uint64_t budget_bytes, uint64_t unit_bytes);

}  // namespace spillway
