// SPDX-License-Identifier: MIT
// What is measured of a machine while somebody waits: how fast the disk delivers a model's own file. A quarter of a
// second each.
#pragma once

#include <optional>

#include "hw/disk_probe.h"
#include "model/gguf_model.h"

namespace spillway {

// Of the files of a model that is in parts.
const File& largest_file(const GgufModel& model);

// Nothing where the file is too small to tell, or could not be read; a notice says the latter.
std::optional<DiskProfile> probe_model_disk(const GgufModel& model, RingKind ring = RingKind::kBest);

// The same disk some seconds later: the median of what was measured first and of three more tries at other places, each
// with `probed`'s size and depth. One look can fall into a bad moment (2.1 between 3.0 and 3.1 GB/s), and what streams
// meets the mean of many.
double probe_model_disk_again(const GgufModel& model, const DiskProfile& probed);

}  // namespace spillway
