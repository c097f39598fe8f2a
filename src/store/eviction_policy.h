// SPDX-License-Identifier: MIT
// Which resident expert goes when another needs its memory: the one whose next use is expected last. Pure functions of
// what was seen of an extent and of when its layer's turn comes; who may be evicted at all (nobody holds it, nobody
// waits for it) is the cache's business.
//
// An expert's chance to be used by a pass is estimated from two heats, sums of its uses that halve with time: a slow
// one for what the text is about, a fast one because tokens repeat the experts of the tokens before them. An extent
// that a pass uses with chance p is used next after 1 / p of its turns, the first of which is the nearer the sooner its
// layer comes. tests/store/policy_replay_test.cpp has the hits on recorded routing, beside others'.
#pragma once

#include <cstdint>

namespace spillway {

// What the cache remembers of each extent, resident or not.
struct Usage {
  uint32_t last_pass = 0;  // of which the heats are
  float slow = 0, fast = 0;
  bool scanned = false;  // last read or used by a pass over everything (prefill), not by a choice
};

class EvictionPolicy {
 public:
  // `pool_passes`: after so many passes as many experts were chosen as a layer has.
  explicit EvictionPolicy(double pool_passes);

  // One more use, in `pass`. A scan says nothing about what is worth keeping.
  void touch(Usage& usage, uint32_t pass, bool scan) const;
  // That `pass` uses it, 0..1.
  double chance(const Usage& usage, uint32_t pass) const;
  // How long it will not be missed, apart from when its layer comes. What a scan read is used up, and goes before
  // all others; among scanned ones the chance still decides, so a prefill leaves the hot set alone.
  double spare_passes(const Usage& usage, uint32_t pass) const;
  // The same for an extent whose layer comes `turns` of `n_turns` layers from now; one that has just been is n_turns
  // away.
  double spare_passes(double spare_in_turn, uint32_t turns, uint32_t n_turns) const;

  // A heat as chance() understands it, of an extent with that chance: what is known from earlier runs.
  Usage usage_of(double chance) const;

 private:
  // What is left of a heat after so many passes.
  float slow_left(uint32_t passes) const;
  float fast_left(uint32_t passes) const;

  double slow_half_life_passes_, fast_half_life_passes_;
  double slow_share_, fast_share_;  // from heat to chance
};

}  // namespace spillway
