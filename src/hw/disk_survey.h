// SPDX-License-Identifier: MIT
// What a disk can do, for a profile: sequential and scattered direct reads of files that exist, at the sizes and depths
// that streaming uses. No offset is read twice, so no cache of this machine can answer; nothing is written. Where
// hw/disk_probe takes half a second at most before a run, this takes a few and doubts itself.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "base/clock.h"
#include "base/status.h"
#include "hw/machine_profile.h"
#include "os/io_queue.h"

namespace spillway {

// Less can not be dealt out into enough reads.
inline constexpr uint64_t kSurveyBytesMin = 48ull << 20;

struct DiskSurveyOptions {
  uint64_t bytes_per_try_max = 256ull << 20;
  // About how long one of ten tries reads. Files end sooner; a disk that slows down is given up after a few times that,
  // once what is in flight has come.
  double try_s = 0.12;
  uint64_t seed = 1;                              // where in the files to start: another seed, other offsets
  std::function<bool(double fraction)> progress;  // false: stop; also called within a try that takes long
  // How reads are made, and by which clock; a test gives its own.
  std::function<Result<std::unique_ptr<IoQueue>>(unsigned depth)> open_queue = [](unsigned depth) {
    return open_io_queue(IoQueueKind::kBest, depth);
  };
  std::function<double()> now_s = monotonic_s;
};

struct DiskSurvey {
  DiskFacts facts;                  // all but the volume
  std::vector<std::string> doubts;  // in plain words
};

// Reads `files`, which lie on one volume and outlive the call.
//   InvalidArgument   the files are smaller than kSurveyBytesMin together      Io   a read failed
//   Cancelled         progress said so
Result<DiskSurvey> survey_disk(std::span<const File* const> files, const DiskSurveyOptions& options = {});

}  // namespace spillway
