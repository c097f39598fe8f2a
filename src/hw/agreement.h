// SPDX-License-Identifier: MIT
// Two passes over the same thing: the better one is the figure, their distance is what it is worth. A machine that is
// throttled, a disk with burst credits and a neighbour that works all show as passes that do not agree.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

namespace spillway {

// Passes on an idle machine differ by a few percent; virtual ones and laptops by up to 15.
inline constexpr double kPassesDifferMax = 0.2;

// 0: equal. 0.5: one is half of the other. 1: one is nothing.
inline double passes_differ_by(double first, double second) {
  const double larger = std::max(first, second), smaller = std::min(first, second);
  return larger > 0 ? 1 - smaller / larger : 0;
}

// A sentence for MachineProfile::doubts when the passes do not agree: "WHAT: two passes differ by 40 %: LIKELY; ...".
inline std::optional<std::string> doubt_between_passes(const std::string& what, double first, double second,
                                                       const std::string& likely) {
  const double gap = passes_differ_by(first, second);
  if (gap <= kPassesDifferMax) return std::nullopt;
  return fmt::format("{}: two passes differ by {:.0f} %: {}; run again with --refresh", what, gap * 100, likely);
}

}  // namespace spillway
