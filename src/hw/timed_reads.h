// SPDX-License-Identifier: MIT
// A list of reads, kept in flight at a queue's depth, and how fast they came: what every figure about a disk is made
// of.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/status.h"
#include "os/io_queue.h"
#include "os/memory.h"

namespace spillway {

struct ReadAt {
  const File* file = nullptr;
  uint64_t offset = 0;
};

struct TimedReads {
  double bytes_per_s = 0;
  size_t reads = 0;          // fewer than were asked for where time ran out
  uint64_t empty_reads = 0;  // begin and middle were zeros: probably a hole in the file
};

// When to stop, and by which clock.
struct ReadTiming {
  double limit_s = INFINITY;  // nothing is started after it; what is in flight then is waited for
  // Asked four times a second while there is more to start; false: stop. It may be empty.
  std::function<bool(double fraction)> go_on = {};
  std::function<double()> now_s = monotonic_s;
};

// Memory to measure with: what streams goes to memory that no cache holds, and where the machine below copies what its
// disk read, that counts. One virtual disk gave 3.6 GB/s into 4 to 12 MiB, 3.2 into 24 and 2.5 into 64 or 1,000; in a
// slower minute 2.3, 1.7 and 1.5.
inline constexpr uint64_t kReadMemoryBytes = 64 * MiB;
// Of `free_bytes`, how much of it is taken: no less than reads in flight need.
uint64_t read_memory_bytes(unsigned depth, uint32_t read_bytes, uint64_t free_bytes);
// Huge pages, all of them there.
//   OutOfBudget   the system lacks memory
Result<Region> read_memory(uint64_t bytes = kReadMemoryBytes);

// Reads `read_bytes` (multiple of 4096) at each place, in this order, to all of `memory` in turn, which has room for as
// many as are in flight (CHECK). The queue must be idle; it is afterwards.
//   Io   a read failed or was short      Cancelled   `timing` said so
Result<TimedReads> read_timed(IoQueue& queue, std::span<const ReadAt> where, uint32_t read_bytes, const Region& memory,
                              const ReadTiming& timing = {});

}  // namespace spillway
