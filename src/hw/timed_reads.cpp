// SPDX-License-Identifier: MIT
#include "hw/timed_reads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "os/memory.h"

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

Result<TimedReads> read_timed(IoQueue& queue, std::span<const ReadAt> where, uint32_t read_bytes) {
  // Whole huge pages, as most of what is streamed into: the rest of one is 4 KiB pages anywhere in memory, and a read
  // of 1 MiB into those is 254 segments (behind virtio 1.2 GB/s instead of 3.2 with four reads in flight).
  ASSIGN_OR_RETURN(const Region buffer,
                   Region::allocate(round_up(uint64_t{queue.depth()} * read_bytes, kHugePageBytes), 0));
  std::memset(buffer.data(), 0, buffer.bytes());  // page faults before the clock starts
  std::vector<ReadOutcome> done;
  std::vector<size_t> read_of_part(queue.depth());
  size_t next = 0;
  const auto submit = [&](uint64_t part) {
    read_of_part[part] = next;
    const ReadAt& at = where[next++];
    queue.submit({at.file, at.offset, buffer.data() + part * read_bytes, read_bytes, part});
  };
  TimedReads timed;
  Result<void> outcome;
  const Stopwatch watch;
  for (uint64_t part = 0; part < queue.depth() && next < where.size(); ++part) submit(part);
  while (queue.in_flight() > 0) {
    done.clear();
    queue.wait(done);
    for (const ReadOutcome& read : done) {
      if (read.result != static_cast<int64_t>(read_bytes) && outcome)
        outcome = error(
            Code::kIo,
            fmt::format("{}: a read failed while measuring the disk: {}", where[read_of_part[read.tag]].file->path(),
                        read.result < 0 ? std::strerror(static_cast<int>(-read.result)) : "short read"));
      timed.empty_reads += is_empty(buffer.data() + read.tag * read_bytes, read_bytes);
      if (outcome && next < where.size()) submit(read.tag);
    }
  }
  if (!outcome) return Failure(outcome.error());
  timed.bytes_per_s = static_cast<double>(where.size() * read_bytes) / watch.elapsed_s();
  return timed;
}

}  // namespace spillway
