// SPDX-License-Identifier: MIT
// The extents that may be evicted, those least worth keeping first, each slot class for itself. Finding the first costs
// nothing, each change a logarithm: a model of a trillion parameters has 70,000 extents, and a token uses 1,500.
//
// Not thread-safe: its user has a lock.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "store/eviction_policy.h"
#include "store/extent.h"

namespace spillway {

class VictimOrder {
 public:
  // `class_of`: [n_extent] slot classes, all below n_class.
  VictimOrder(std::vector<uint32_t> class_of, size_t n_class);

  // Puts an extent in, or to another place.
  void put(ExtentId id, KeepOrder order);
  // Takes an extent out; nothing when it is not in.
  void remove(ExtentId id);
  // Of a class the one with the lowest order, of equals the one with the lowest number.
  std::optional<ExtentId> first(uint32_t slot_class) const;

 private:
  static constexpr uint32_t kOut = 0xffffffff;
  struct Seat {
    KeepOrder order;
    uint32_t index = kOut;  // within its class's heap
  };
  // A binary heap: each comes before the two at twice its index plus one and two.
  using Heap = std::vector<ExtentId>;

  bool before(ExtentId a, ExtentId b) const;
  void place(Heap& heap, uint32_t index, ExtentId id);
  void move_up(Heap& heap, uint32_t index);
  void move_down(Heap& heap, uint32_t index);

  const std::vector<uint32_t> class_of_;  // [n_extent]
  std::vector<Seat> seats_;               // [n_extent]
  std::vector<Heap> heaps_;               // [n_class]
};

}  // namespace spillway
