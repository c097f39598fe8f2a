// SPDX-License-Identifier: MIT
// The memory that streamed weights use, allocated once and circulated: a slot's pages are filled in staging, moved over
// an extent's address, and moved back. Slots have few lengths (classes), so that pages never have to be given back to
// the system and taken anew, which costs ten times the CPU of moving them (0.41 against 0.03 CPU s/GB) and rounds up to
// huge pages unseen. Only a budget that changes makes slots go and come.
#pragma once

#include <cstdint>
#include <vector>

#include "os/memory.h"
#include "store/extent.h"

namespace spillway {

// A choice of lengths to share slots among: for each length in, the class that serves it.
struct SlotClasses {
  std::vector<uint64_t> slot_bytes;  // [n_class]
  std::vector<uint32_t> class_of;    // [n_extent]
};
// Pools never share a class. Within a pool lengths share one when the shorter fills kSlotFillMin of the longer; the
// ring's slots are ring_slot_bytes() of it.
SlotClasses choose_slot_classes(const std::vector<Extent>& extents);

// Slots per class for a budget: every class gets `slots_min[c]`, the rest is dealt out in proportion to what each class
// would need to hold all of its extents. Empty when even the minimum exceeds the budget.
std::vector<uint32_t> deal_slots(const std::vector<uint64_t>& slot_bytes, const std::vector<uint32_t>& n_extents,
                                 const std::vector<uint32_t>& slots_min, uint64_t budget_bytes);

enum class SlotId : uint32_t { kNone = 0xffffffff };

// Not thread-safe: its user has a lock.
class PagePool {
 public:
  PagePool(std::vector<uint64_t> slot_bytes, std::vector<uint32_t> n_slots);

  // How many slots a class may have. With fewer than it has, those in use stay until they are given back and removed.
  uint32_t n_slots(uint32_t slot_class) const { return n_slots_.at(slot_class); }
  void set_n_slots(uint32_t slot_class, uint32_t n) { n_slots_.at(slot_class) = n; }
  bool has_surplus(uint32_t slot_class) const { return made_.at(slot_class) > n_slots_.at(slot_class); }
  uint64_t bytes_max() const;   // by n_slots()
  uint64_t bytes_made() const;  // of slots that have an address, in use or free

  // A free slot of the class, kNone when all are taken. Its address is made on first use.
  //   OutOfBudget   the system has no memory
  Result<SlotId> take(uint32_t slot_class);
  void give_back(SlotId slot);

  // As take(), but only of slots that the class has beyond n_slots(): to be removed.
  SlotId take_surplus(uint32_t slot_class);
  // The slot is no more; its memory goes with the Region, its number to the next slot made.
  Region remove(SlotId slot);

  std::byte* staging(SlotId slot) const { return slots_[static_cast<uint32_t>(slot)].region.data(); }

 private:
  struct Slot {
    Region region;
    uint32_t slot_class = 0;
  };
  const std::vector<uint64_t> slot_bytes_;
  std::vector<uint32_t> n_slots_;  // [n_class]
  std::vector<Slot> slots_;
  std::vector<SlotId> unused_;             // numbers without a slot
  std::vector<uint32_t> made_;             // [n_class]
  std::vector<std::vector<SlotId>> free_;  // [n_class][...]
};

}  // namespace spillway
