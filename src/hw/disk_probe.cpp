// SPDX-License-Identifier: MIT
#include "hw/disk_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/bytes.h"
#include "base/clock.h"
#include "os/machine.h"
#include "os/memory.h"

namespace spillway {
namespace {

// A smaller read or shallower queue is kept unless the larger one gains more than this: it delays demand reads less.
constexpr double kWorthwhileGain = 1.03;

}  // namespace

Result<double> measure_disk_bytes_per_s(const File& file, ReadRing& ring, uint32_t read_bytes, uint64_t bytes,
                                        uint64_t start_offset) {
  const uint64_t file_bytes = round_down(file.size_bytes(), kPageBytes);
  if (file_bytes < read_bytes)
    return error(Code::kInvalidArgument, fmt::format("{}: too small to measure", file.path()));
  ASSIGN_OR_RETURN(const Region buffer, Region::allocate(uint64_t{ring.depth()} * read_bytes, 0));
  std::memset(buffer.data(), 0, buffer.bytes());  // page faults before the clock starts
  const uint64_t n_reads = std::max<uint64_t>(1, std::min(bytes, file_bytes) / read_bytes);
  std::vector<ReadOutcome> done;
  uint64_t next = 0, offset = round_down(start_offset % file_bytes, kPageBytes);
  const auto submit = [&](uint64_t buffer_slot) {
    if (offset + read_bytes > file_bytes) offset = 0;
    ring.submit({&file, offset, buffer.data() + buffer_slot * read_bytes, read_bytes, buffer_slot});
    offset += read_bytes;
    ++next;
  };
  const Stopwatch watch;
  for (uint64_t slot = 0; slot < ring.depth() && next < n_reads; ++slot) submit(slot);
  Result<double> outcome = 0.0;
  while (ring.in_flight() > 0) {
    done.clear();
    ring.wait(done);
    for (const ReadOutcome& read : done) {
      if (read.result != static_cast<int64_t>(read_bytes) && outcome)
        outcome = error(Code::kIo,
                        fmt::format("{}: a read failed while measuring the disk: {}", file.path(),
                                    read.result < 0 ? std::strerror(static_cast<int>(-read.result)) : "short read"));
      if (outcome && next < n_reads) submit(read.tag);
    }
  }
  if (!outcome) return outcome;
  return static_cast<double>(n_reads * read_bytes) / watch.elapsed_s();
}

Result<DiskProfile> probe_disk(const File& file, const DiskProbeOptions& options) {
  // One page below the device's segment limit, see store/tuning.h.
  const uint64_t whole = std::min<uint64_t>(device_read_bytes_max(file.path()), MiB);
  const auto read_bytes_max = static_cast<uint32_t>(std::max<uint64_t>(round_down(whole, kPageBytes), 64 * KiB));
  DiskProfile best;
  best.direct = file.is_direct();
  // Each try starts where no other has read: the file is dealt out from a random place on.
  std::mt19937_64 random(options.seed);
  uint64_t offset = random() % std::max<uint64_t>(file.size_bytes(), 1);
  for (const unsigned depth : {8u, 16u, 32u}) {
    ASSIGN_OR_RETURN(const auto ring, open_read_ring(options.ring, depth));
    for (const uint32_t read_bytes : {read_bytes_max / 2, read_bytes_max}) {
      const auto rounded = static_cast<uint32_t>(round_down(read_bytes, kPageBytes));
      if (rounded > file.size_bytes() / 2) continue;
      ASSIGN_OR_RETURN(const double bytes_per_s,
                       measure_disk_bytes_per_s(file, *ring, rounded, options.bytes_per_try, offset));
      offset += options.bytes_per_try;
      if (bytes_per_s < best.disk_bytes_per_s * kWorthwhileGain) continue;
      best.disk_bytes_per_s = bytes_per_s;
      best.read_bytes = rounded;
      best.depth = depth;
      best.ring = ring->name();
    }
  }
  if (best.depth == 0) return error(Code::kInvalidArgument, fmt::format("{}: too small to measure", file.path()));
  return best;
}

}  // namespace spillway
