// SPDX-License-Identifier: MIT
// Slots for a pool whose size changes while the engine runs. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/layout.h"
#include "engine/pool_classes.h"

namespace spillway {

// Deals a pool's memory among the slot classes of a layout: the ring as many as were planned, experts what is left;
// with little, experts their least and the ring what is left. Without experts the ring gets all of it.
class PoolDeal {
 public:
  PoolDeal(const Layout& layout, uint64_t n_expert_used);

  uint64_t bytes_min() const { return bytes_min_; }  // with less, one operation's weights have no room
  uint64_t bytes_max() const { return bytes_max_; }  // with it, everything stays

  // [n_class]; the least when `pool_bytes` is below bytes_min().
  std::vector<uint32_t> slots(uint64_t pool_bytes) const;

 private:
  PoolClasses classes_;  // with fewer slots planned than one operation needs, those are its least
  std::vector<uint32_t> planned_;
  uint64_t ring_planned_bytes_ = 0, ring_bytes_min_ = 0, experts_bytes_min_ = 0;
  uint64_t bytes_min_ = 0, bytes_max_ = 0;
};

// The longest part of a prompt whose experts of one layer fit these slots; 0: no limit.
size_t tokens_per_pass_max(const GgufModel& model, const Placement& placement, const Layout& layout,
                           std::span<const uint32_t> n_slots);

}  // namespace spillway
