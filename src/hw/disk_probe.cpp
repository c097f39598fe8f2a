// SPDX-License-Identifier: MIT
#include "hw/disk_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/bytes.h"
#include "hw/read_choice.h"
#include "hw/timed_reads.h"
#include "os/machine.h"

namespace spillway {

Result<double> measure_disk_bytes_per_s(const File& file, IoQueue& queue, uint32_t read_bytes, uint64_t bytes,
                                        uint64_t start_offset, const Region& memory) {
  const uint64_t file_bytes = round_down(file.size_bytes(), kPageBytes);
  if (file_bytes < read_bytes)
    return error(Code::kInvalidArgument, fmt::format("{}: too small to measure", file.path()));
  const uint64_t n_reads = std::max<uint64_t>(1, std::min(bytes, file_bytes) / read_bytes);
  std::vector<ReadAt> where;
  uint64_t offset = round_down(start_offset % file_bytes, kPageBytes);
  while (where.size() < n_reads) {
    if (offset + read_bytes > file_bytes) offset = 0;
    where.push_back({&file, offset});
    offset += read_bytes;
  }
  ASSIGN_OR_RETURN(const TimedReads timed, read_timed(queue, where, read_bytes, memory));
  return timed.bytes_per_s;
}

uint32_t disk_read_bytes_max(const std::string& path) {
  // One page below the device's segment limit, see store/tuning.h.
  const uint64_t whole = std::min<uint64_t>(device_read_bytes_max(path), MiB);
  return static_cast<uint32_t>(std::max<uint64_t>(round_down(whole, kPageBytes), 64 * KiB));
}

Result<DiskProfile> probe_disk(const File& file, const DiskProbeOptions& options) {
  const uint32_t read_bytes_max = disk_read_bytes_max(file.path());
  ASSIGN_OR_RETURN(const Region memory, read_memory());
  std::vector<ReadRate> tried;
  std::string queue_name;
  // Each try starts where no other has read: the file is dealt out from a random place on.
  std::mt19937_64 random(options.seed);
  uint64_t offset = random() % std::max<uint64_t>(file.size_bytes(), 1);
  for (const unsigned depth : {8u, 16u, 32u}) {
    ASSIGN_OR_RETURN(const auto queue, open_io_queue(options.io_queue, depth));
    queue_name = queue->name();
    for (const uint32_t read_bytes : read_sizes_for(options.slice_bytes, read_bytes_max)) {
      if (read_bytes > file.size_bytes() / 2) continue;
      ASSIGN_OR_RETURN(const double bytes_per_s,
                       measure_disk_bytes_per_s(file, *queue, read_bytes, options.bytes_per_try, offset, memory));
      offset += options.bytes_per_try;
      tried.push_back({read_bytes, depth, bytes_per_s});
    }
  }
  const auto chosen = choose_reads(tried);
  if (!chosen) return error(Code::kInvalidArgument, fmt::format("{}: too small to measure", file.path()));
  // What the disk can give is the best that it gave.
  const auto slower = [](const ReadRate& a, const ReadRate& b) { return a.bytes_per_s < b.bytes_per_s; };
  return DiskProfile{.disk_bytes_per_s = std::max_element(tried.begin(), tried.end(), slower)->bytes_per_s,
                     .read_bytes = chosen->read_bytes,
                     .depth = chosen->depth,
                     .io_queue = queue_name,
                     .direct = file.is_direct()};
}

}  // namespace spillway
