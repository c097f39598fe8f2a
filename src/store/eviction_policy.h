// SPDX-License-Identifier: MIT
// Which resident extent goes when another needs its memory: the one that is lowest in order. A policy is a pure
// function of what was seen of an extent; who may be evicted at all (unpinned, not awaited) is the cache's business.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/status.h"
#include "store/extent.h"

namespace spillway {

// What the cache remembers of each extent, resident or not. Counted in accesses to the extent's pool.
struct Usage {
  uint64_t last_use = 0;  // number of the access; 0: never
  double heat = 0;        // accesses, each halving in weight per half-life; as of last_use
  bool scanned = false;   // last brought in or used by a pass over everything (prefill), not by a choice
};

// Worth of keeping an extent, comparable within one pool. The same at any time: heat decays for all alike, so only a
// use changes who stands before whom, and extents can be kept sorted (store/victim_order.h).
struct KeepOrder {
  bool chosen = true;  // not merely touched by a scan
  double worth = 0;
  friend auto operator<=>(const KeepOrder&, const KeepOrder&) = default;
};

// Stateless after construction, thread-safe.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual std::string_view name() const = 0;
  virtual KeepOrder keep_order(const Usage& usage) const = 0;
};

// "lru": least recently used goes first. Hits nothing when one token's experts exceed the memory.
// "lfu": lowest decayed access count goes first, scanned extents before all others. On recorded routing of real models
//        1 to 7 points more hits than lru with 8 to 20 % of the experts in memory, level above
//        (tests/store/policy_replay_test.cpp).
// "mru": most recently used goes first: optimal for a cyclic order (Belady), where the last used is needed again last.
//   NotFound   no such name
Result<std::unique_ptr<EvictionPolicy>> make_policy(std::string_view name, double half_life_accesses);

// `usage` after one more access numbered `now`.
void touch(Usage& usage, uint64_t now, bool scan, double half_life_accesses);

}  // namespace spillway
