// SPDX-License-Identifier: MIT
// The slot classes of a layout's extents, by pool, and how a pool's memory is dealt among its classes. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "store/page_pool.h"

namespace spillway {

struct PoolClasses {
  std::vector<uint32_t> class_of;          // [n_extent]
  std::vector<uint64_t> slot_bytes;        // [n_class], as what follows
  std::vector<uint32_t> n_extents, least;  // `least`: what one operation needs
  std::vector<bool> is_ring;               // else experts

  // Of one pool's classes; the others get none. Empty when not even the least fits.
  std::vector<uint32_t> deal(Pool pool, const std::vector<uint32_t>& at_most, uint64_t bytes) const;
};

PoolClasses pool_classes(const std::vector<Extent>& extents, uint64_t n_expert_used);

}  // namespace spillway
