// SPDX-License-Identifier: MIT
#include "layout/tier.h"

namespace spillway {

const char* tier_name(Tier tier) {
  switch (tier) {
    case Tier::kPinned:
      return "pinned";
    case Tier::kRing:
      return "ring";
    case Tier::kExperts:
      return "experts";
    case Tier::kRows:
      return "rows";
    case Tier::kDevice:
      return "device";
    case Tier::kUnused:
      return "unused";
  }
  return "?";
}

}  // namespace spillway
