// SPDX-License-Identifier: MIT
#include "hw/timed_reads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "hw/full_queue.h"

namespace spillway {
namespace {

bool is_empty(const std::byte* data, uint32_t bytes) {
  constexpr uint32_t kSample = 256;
  const auto zeros = [](const std::byte* at, uint32_t n) {
    return std::all_of(at, at + n, [](std::byte b) { return b == std::byte{0}; });
  };
  return zeros(data, std::min(kSample, bytes)) && zeros(data + bytes / 2, std::min(kSample, bytes / 2));
}

}  // namespace

uint64_t read_memory_bytes(unsigned depth, uint32_t read_bytes, uint64_t free_bytes) {
  return std::max(uint64_t{depth} * read_bytes, std::min(free_bytes, kReadMemoryBytes));
}

Result<Region> read_memory(uint64_t bytes) {
  // Whole huge pages, as most of what is streamed into: the rest of one is 4 KiB pages anywhere in memory, and a read
  // of 1 MiB into those is 254 segments (behind virtio 1.2 GB/s instead of 3.2 with four reads in flight).
  ASSIGN_OR_RETURN(Region memory, Region::allocate(round_up(bytes, kHugePageBytes), 0));
  std::memset(memory.data(), 0, memory.bytes());  // page faults before a clock starts
  return memory;
}

Result<TimedReads> read_timed(IoQueue& queue, std::span<const ReadAt> where, uint32_t read_bytes,
                              const Region& memory) {
  const uint64_t n_parts = memory.bytes() / read_bytes;
  CHECK(n_parts >= queue.depth());
  std::deque<uint64_t> free_parts;  // the one that was read longest ago in front
  for (uint64_t part = 0; part < n_parts; ++part) free_parts.push_back(part);
  std::vector<size_t> read_of_part(n_parts);
  std::vector<ReadOutcome> done;
  size_t next = 0;
  const auto submit = [&] {
    const uint64_t part = free_parts.front();
    free_parts.pop_front();
    read_of_part[part] = next;
    const ReadAt& at = where[next++];
    queue.submit({at.file, at.offset, memory.data() + part * read_bytes, read_bytes, part});
  };
  TimedReads timed;
  Result<void> outcome;
  FullQueue full;
  const Stopwatch watch;
  while (queue.in_flight() < queue.depth() && next < where.size()) submit();
  while (queue.in_flight() > 0) {
    done.clear();
    queue.wait(done);
    if (next < where.size()) full.add(done.size(), watch.elapsed_s());
    for (const ReadOutcome& read : done) {
      if (read.result != static_cast<int64_t>(read_bytes) && outcome)
        outcome = error(
            Code::kIo,
            fmt::format("{}: a read failed while measuring the disk: {}", where[read_of_part[read.tag]].file->path(),
                        read.result < 0 ? std::strerror(static_cast<int>(-read.result)) : "short read"));
      timed.empty_reads += is_empty(memory.data() + read.tag * read_bytes, read_bytes);
      free_parts.push_back(read.tag);
      if (outcome && next < where.size()) submit();
    }
  }
  if (!outcome) return Failure(outcome.error());
  // Of few reads, too few come while the queue is full to say anything; then all of them count.
  const bool is_long = full.reads() > 0 && full.reads() >= where.size() / 2;
  const double reads_per_s = is_long ? full.reads_per_s() : static_cast<double>(where.size()) / watch.elapsed_s();
  timed.bytes_per_s = reads_per_s * read_bytes;
  return timed;
}

}  // namespace spillway
