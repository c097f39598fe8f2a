// SPDX-License-Identifier: MIT
// What is measured of a machine while somebody waits: how fast the disk delivers a model's own file. As hw/disk_probe:
// a tenth of a second on a fast disk, half a second on others.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "hw/disk_probe.h"
#include "model/gguf_model.h"

namespace spillway {

// Of the files of a model that is in parts.
const File& largest_file(const GgufModel& model);

// Nothing where the file is too small to tell, or could not be read; a notice says the latter.
std::optional<DiskProfile> probe_model_disk(const GgufModel& model, IoQueueKind queue = IoQueueKind::kBest);
// `slice_bytes` as in DiskProbeOptions.
std::optional<DiskProfile> probe_file_disk(const File& file, uint64_t slice_bytes = 0,
                                           IoQueueKind queue = IoQueueKind::kBest);

// Samples of the same disk while a model loads, each at another place, with the size and depth that were found. One
// can fall into a bad moment (2.1 between 3.0 and 3.1 GB/s, for tenths of a second), and what streams meets the mean of
// many. The model outlives it; one thread.
class DiskSamples {
 public:
  // `free_bytes`: memory that may be taken meanwhile.
  DiskSamples(const GgufModel& model, const DiskProfile& probed, uint64_t free_bytes);

  uint64_t memory_bytes() const { return memory_ ? memory_->bytes() : 0; }

  // Thirty milliseconds of a fast disk. The disk should be at rest. One that fails is not counted: it is told of by the
  // load's own reads.
  void take_sample();

  // The median of all samples and of what was probed.
  double disk_bytes_per_s() const;

 private:
  const File& file_;
  const DiskProfile probed_;
  const uint64_t first_offset_;
  Result<Region> memory_;
  uint64_t n_tries_ = 0;
  std::vector<double> rates_;
};

}  // namespace spillway
