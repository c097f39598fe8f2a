// SPDX-License-Identifier: MIT
// What keeping keys and values in fewer bits would buy, beside a plan that keeps them in 16 or 32. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "plan/planner.h"

namespace spillway {

struct CacheOffer {
  CacheFormat format;
  uint64_t saved_bytes = 0;  // of the cache
  uint64_t n_ctx = 0;     // tokens of all sequences that the memory of the plan's cache would hold; 0: no more of use
  Prediction prediction;  // of the same context
};

// `plan`: what make_plan() found for `request`; nullptr: nothing that fits. nullopt where the model takes no such
// cache, where it has one already, or where little would be gained.
std::optional<CacheOffer> cache_offer(const PlanRequest& request, const Plan* plan);

// "--cache-type-k q8_0 --cache-type-v q8_0".
std::string cache_options_text(const CacheFormat& format);

}  // namespace spillway
