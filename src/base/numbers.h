// SPDX-License-Identifier: MIT
// Whether what a model computed are numbers at all: damaged weights make NaN, or what has no end. Pure.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "base/status.h"

namespace spillway {

// Logits may be minus infinity (what a model never says). Others cannot be sorted: NaN is neither more nor less than
// anything. Where NaN met a quantized matrix it is gone, and every token has the same.
inline bool are_logits(std::span<const float> values) {
  bool are_less = true, differ = values.size() == 1;  // without a way out of the loop: eight at once
  for (const float value : values) {
    are_less &= value <= std::numeric_limits<float>::max();
    differ |= value != values.front();
  }
  return are_less && differ;
}

inline bool are_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

inline Failure no_numbers() {
  return error(Code::kCorrupt,
               "what the model computed are no numbers, or the same one for every token: its weights are damaged, or a "
               "device or worker computes wrongly");
}

}  // namespace spillway
