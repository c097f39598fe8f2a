// SPDX-License-Identifier: MIT
#include "store/eviction_policy.h"

#include <algorithm>
#include <cmath>

#include "store/tuning.h"

namespace spillway {
namespace {

double left_after(double passes, double half_life_passes) { return std::exp2(-passes / half_life_passes); }

// No extent is so spare that the next digits would not count.
constexpr double kScanned = 1e6, kSpareMax = 1e5;

}  // namespace

EvictionPolicy::EvictionPolicy(double pool_passes)
    : slow_half_life_passes_(kSlowHalfLifePools * std::max(pool_passes, 1.0)),
      fast_half_life_passes_(kFastHalfLifePools * std::max(pool_passes, 1.0)),
      slow_share_((1 - kFastWeight) * (1 - left_after(1, slow_half_life_passes_))),
      fast_share_(kFastWeight * (1 - left_after(1, fast_half_life_passes_))) {}

float EvictionPolicy::slow_left(uint32_t passes) const {
  return static_cast<float>(left_after(passes, slow_half_life_passes_));
}
float EvictionPolicy::fast_left(uint32_t passes) const {
  return static_cast<float>(left_after(passes, fast_half_life_passes_));
}

void EvictionPolicy::touch(Usage& usage, uint32_t pass, bool scan) const {
  const uint32_t passes = pass - usage.last_pass;
  usage.slow = usage.slow * slow_left(passes) + (scan ? 0.0f : 1.0f);
  usage.fast = usage.fast * fast_left(passes) + (scan ? 0.0f : 1.0f);
  usage.last_pass = pass;
  usage.scanned = scan;
}

double EvictionPolicy::chance(const Usage& usage, uint32_t pass) const {
  const uint32_t passes = pass - usage.last_pass;
  return std::min(1.0, slow_share_ * static_cast<double>(usage.slow * slow_left(passes)) +
                           fast_share_ * static_cast<double>(usage.fast * fast_left(passes)));
}

double EvictionPolicy::spare_passes(const Usage& usage, uint32_t pass) const {
  const double p = chance(usage, pass);
  const double passes = p > 1 / kSpareMax ? 1 / p - 1 : kSpareMax;
  return usage.scanned ? kScanned + passes : passes;
}

double EvictionPolicy::spare_passes(double spare_in_turn, uint32_t turns, uint32_t n_turns) const {
  return spare_in_turn + kTurnWeight * turns / std::max(n_turns, 1u);
}

Usage EvictionPolicy::usage_of(double chance) const {
  return {.slow = static_cast<float>(std::clamp(chance, 0.0, 1.0) / slow_share_)};
}

}  // namespace spillway
