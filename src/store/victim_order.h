// SPDX-License-Identifier: MIT
// The extents that may be evicted, sorted in groups: of each group the one that can best be spared is at hand. Finding
// it costs nothing, each change a logarithm: a model of a trillion parameters has 70,000 extents, and a token uses
// 1,500.
//
// Not thread-safe: its user has a lock.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "layout/extent.h"

namespace spillway {

class VictimOrder {
 public:
  // `group_of`: [n_extent], all below n_group.
  VictimOrder(std::vector<uint32_t> group_of, size_t n_group);

  // Puts an extent in, or to another place: the higher `spare`, the sooner it goes.
  void put(ExtentId id, double spare);
  // Takes an extent out; nothing when it is not in.
  void remove(ExtentId id);
  // Gives all of a group new places.
  void put_all(uint32_t group, const std::function<double(ExtentId)>& spare_of);

  struct Candidate {
    ExtentId id{};
    double spare = 0;
  };
  // Of a group the one with the highest number, of equals the one with the lowest id.
  std::optional<Candidate> first(uint32_t group) const;

 private:
  static constexpr uint32_t kOut = 0xffffffff;
  struct Seat {
    double spare = 0;
    uint32_t index = kOut;  // within its group's heap
  };
  // A binary heap: each comes before the two at twice its index plus one and two.
  using Heap = std::vector<ExtentId>;

  bool before(ExtentId a, ExtentId b) const;
  void place(Heap& heap, uint32_t index, ExtentId id);
  void move_up(Heap& heap, uint32_t index);
  void move_down(Heap& heap, uint32_t index);

  const std::vector<uint32_t> group_of_;  // [n_extent]
  std::vector<Seat> seats_;               // [n_extent]
  std::vector<Heap> heaps_;               // [n_group]
};

}  // namespace spillway
