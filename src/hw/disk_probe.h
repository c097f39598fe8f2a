// SPDX-License-Identifier: MIT
// How fast this disk delivers this file, measured on the file itself: direct reads of offsets never read before in this
// process, since a repeated read may come from a cache somewhere. Takes half a second at most, and on a disk that is
// too slow for that, as long as the queues of two tries (12 MiB).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "hw/timed_reads.h"
#include "os/io_queue.h"
#include "os/memory.h"

namespace spillway {

struct DiskProfile {
  double disk_bytes_per_s = 0;  // of the best combination below
  uint32_t read_bytes = 0;      // size of one read, multiple of 4096
  unsigned depth = 0;           // reads in flight
  std::string io_queue;         // "io_uring" or "threads"
  bool direct = false;          // page cache bypassed
};

struct DiskProbeOptions {
  uint64_t bytes_per_try = 48ull << 20;  // of a disk that reads so much in a try's share of the time
  double time_s = 0.5;                   // of all tries
  uint64_t slice_bytes = 0;              // of what will be read at once, mostly; 0: of any length
  uint64_t seed = 1;                     // where in the file to start: another seed, other offsets
  // How reads are made, and by which clock; a test gives its own.
  std::function<Result<std::unique_ptr<IoQueue>>(unsigned depth)> open_queue = [](unsigned depth) {
    return open_io_queue(IoQueueKind::kBest, depth);
  };
  std::function<double()> now_s = monotonic_s;
};

// The longest read that makes sense on the device below `path`, a multiple of 4096.
uint32_t disk_read_bytes_max(const std::string& path);

// Tries a few sizes and depths on `file`, as many as there is time for, and keeps what choose_reads()
// (hw/read_choice.h) does.
//   Io   a read failed       Unsupported   the queue was asked for by name and is refused
Result<DiskProfile> probe_disk(const File& file, const DiskProbeOptions& options = {});

// Bandwidth with one size and depth, in bytes per second. `memory` and `timing`: hw/timed_reads.h's.
Result<double> measure_disk_bytes_per_s(const File& file, IoQueue& queue, uint32_t read_bytes, uint64_t bytes,
                                        uint64_t start_offset, const Region& memory, const ReadTiming& timing = {});

}  // namespace spillway
