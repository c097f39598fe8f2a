// SPDX-License-Identifier: MIT
// The slots' memory as the ring knows it: registered when a slot is first read into, forgotten before it is unmapped.
// Used by one thread: the one that reads. The ring outlives it.
#pragma once

#include <cstdint>
#include <vector>

#include "os/read_ring.h"
#include "store/page_pool.h"

namespace spillway {

class SlotMemory {
 public:
  explicit SlotMemory(ReadRing& ring) : ring_(ring) {}

  // The number to read into `slot` with. The first time, its pages are taken from the system.
  int32_t number_of(SlotId slot, std::byte* staging, uint64_t bytes);
  // The slot is about to go: nothing is in flight into it.
  void forget(SlotId slot);

  // CPU time that the system took to hand out pages, since the last call.
  double take_setup_cpu_s();

 private:
  ReadRing& ring_;
  std::vector<int32_t> numbers_;  // [n_slot]
  double setup_cpu_s_ = 0;
};

}  // namespace spillway
