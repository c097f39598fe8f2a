// SPDX-License-Identifier: MIT
// Constants of planning, each with its reason.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace spillway {

// Slots of the ring in which dense weights stream: one is computed with while the others are read. Fewer starve the
// disk when one operation takes long, more are memory that could hold weights for good.
inline constexpr uint32_t kRingSlotsMin = 2;
inline constexpr uint32_t kRingSlotsWanted = 6;

// Of what is free on the machine, kept for everybody else when no budget is given.
inline constexpr uint64_t kHeadroomBytesMin = 512 * MiB;
inline constexpr double kHeadroomShare = 0.08;

}  // namespace spillway
