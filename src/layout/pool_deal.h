// SPDX-License-Identifier: MIT
// Slots for a pool whose size changes while the engine runs, and for passes of one token and of many. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layout/layout.h"

namespace spillway {

enum class PassKind : uint8_t {
  kRouted,  // experts as the router asks
  kWhole,   // all experts of one matrix after the other
};

// Deals a pool's memory among a layout's slot classes: the ring as many as were planned, experts what is left; with
// little, experts their least and the ring what is left. Without experts the ring gets all of it. For whole expert
// tensors the experts' slots make room.
class PoolDeal {
 public:
  explicit PoolDeal(const Layout& layout);

  uint64_t bytes_min() const { return bytes_min_; }  // with less, one operation's weights have no room
  uint64_t bytes_max() const { return bytes_max_; }  // with it, everything stays

  // [n_class]; the least when `pool_bytes` is below bytes_min(), none for 0. Slots for whole tensors only where they
  // leave the experts theirs.
  std::vector<uint32_t> slots(uint64_t pool_bytes, PassKind kind) const;

  // Whether passes of kWhole can be had.
  bool has_room_for_whole(uint64_t pool_bytes) const;

  // What these slots are charged.
  uint64_t bytes(std::span<const uint32_t> n_slots) const;

 private:
  std::vector<uint32_t> routed_slots(uint64_t pool_bytes) const;

  std::vector<SlotClass> classes_;
  std::vector<uint32_t> n_extents_, planned_;
  uint64_t unit_bytes_;
  uint64_t whole_bytes_ = 0;  // of the slots for whole tensors; 0: there are none
  uint64_t ring_planned_bytes_ = 0, ring_bytes_min_ = 0, experts_bytes_min_ = 0;
  uint64_t bytes_min_ = 0, bytes_max_ = 0;
};

// The longest part of a prompt whose experts of one layer fit these slots; 0: no limit.
size_t routed_tokens_max(const Layout& layout, const std::vector<TensorInfo>& tensors, uint64_t n_expert_used,
                         std::span<const uint32_t> n_slots);

}  // namespace spillway
