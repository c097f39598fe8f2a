// SPDX-License-Identifier: MIT
// Splits found stretch by stretch: each home has consecutive stages, so what it holds is one of n^2 / 2 stretches, and
// the best order of stretches is a shortest path. Within a stretch stages take their fastest option, and where that is
// too much, those give way that lose least for each byte: the best there is while layers are alike. Pure.
#pragma once

#include <vector>

#include "plan/device_split.h"

namespace spillway {

// [stage] index of its option, within the memory of every device. The host's memory is not limited but has a price, in
// seconds for each byte. Empty: no stage has room anywhere.
std::vector<size_t> split_by_stretches(const SplitProblem& problem, double host_price);

}  // namespace spillway
