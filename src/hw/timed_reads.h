// SPDX-License-Identifier: MIT
// A list of reads, kept in flight at a queue's depth, and how fast they came: what every figure about a disk is made
// of.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"
#include "os/io_queue.h"

namespace spillway {

struct ReadAt {
  const File* file = nullptr;
  uint64_t offset = 0;
};

struct TimedReads {
  double bytes_per_s = 0;
  uint64_t empty_reads = 0;  // begin and middle were zeros: probably a hole in the file
};

// Reads `read_bytes` (multiple of 4096) at each place, in this order. The queue must be idle; it is afterwards.
//   Io   a read failed or was short      OutOfBudget   no memory for depth * read_bytes
Result<TimedReads> read_timed(IoQueue& queue, std::span<const ReadAt> where, uint32_t read_bytes);

}  // namespace spillway
