// SPDX-License-Identifier: MIT
// What is measured of a machine while somebody waits: how fast the disk delivers a model's own file. A quarter of a
// second.
#pragma once

#include <optional>

#include "hw/disk_probe.h"
#include "model/gguf_model.h"

namespace spillway {

// Of the files of a model that is in parts.
const File& largest_file(const GgufModel& model);

// Nothing where the file is too small to tell, or could not be read; a notice says the latter.
std::optional<DiskProfile> probe_model_disk(const GgufModel& model, RingKind ring = RingKind::kBest);

}  // namespace spillway
