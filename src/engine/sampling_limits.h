// SPDX-License-Identifier: MIT
// Numbers of anybody's as samplers can compute with them. Pure.
#pragma once

#include "engine/engine.h"

namespace spillway {

// The same choice without what becomes infinite or NaN on the way: a temperature of 1e-40 is the likeliest token, as 0
// is, and what is no number is as if it had not been said.
SamplingOptions within_limits(SamplingOptions options);

}  // namespace spillway
