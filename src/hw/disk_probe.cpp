// SPDX-License-Identifier: MIT
#include "hw/disk_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/bytes.h"
#include "hw/read_choice.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr unsigned kProbeDepths[] = {8, 16, 32};
// One may fall into a moment in which the disk stands still.
constexpr size_t kTriesMin = 2;

std::vector<uint32_t> read_sizes_in(const File& file, uint64_t slice_bytes) {
  std::vector<uint32_t> sizes = read_sizes_for(slice_bytes, disk_read_bytes_max(file.path()));
  std::erase_if(sizes, [&](uint32_t read_bytes) { return read_bytes > file.size_bytes() / 2; });
  return sizes;
}

// For one try, at the rate of the last: its share of the `left_s` of `n_left` tries, and its queue full once at least.
// 0: there is no time for that.
uint64_t bytes_of_try(const std::vector<ReadRate>& tried, uint64_t queue_bytes, uint64_t bytes_max, double left_s,
                      size_t n_left) {
  if (tried.empty()) return bytes_max;
  const uint64_t bytes_min = std::min(queue_bytes, bytes_max);
  const double left_bytes = tried.back().bytes_per_s * left_s;
  if (left_bytes < static_cast<double>(bytes_min)) return tried.size() < kTriesMin ? bytes_min : 0;
  const double share_bytes = std::min(static_cast<double>(bytes_max), left_bytes / static_cast<double>(n_left));
  return std::max(static_cast<uint64_t>(share_bytes), bytes_min);
}

// A page, before the clock starts: one that slept is not taken for a slow one.
Result<void> wake_disk(const File& file, const DiskProbeOptions& options, uint64_t offset, const Region& memory) {
  ASSIGN_OR_RETURN(const auto queue, options.open_queue(1));
  const auto woken = measure_disk_bytes_per_s(file, *queue, kPageBytes, kPageBytes, offset, memory);
  if (!woken) return Failure(woken.error());
  return {};
}

}  // namespace

Result<double> measure_disk_bytes_per_s(const File& file, IoQueue& queue, uint32_t read_bytes, uint64_t bytes,
                                        uint64_t start_offset, const Region& memory, const ReadTiming& timing) {
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
  ASSIGN_OR_RETURN(const TimedReads timed, read_timed(queue, where, read_bytes, memory, timing));
  return timed.bytes_per_s;
}

uint32_t disk_read_bytes_max(const std::string& path) {
  // One page below the device's segment limit, see store/tuning.h.
  const uint64_t whole = std::min<uint64_t>(device_read_bytes_max(path), MiB);
  return static_cast<uint32_t>(std::max<uint64_t>(round_down(whole, kPageBytes), 64 * KiB));
}

Result<DiskProfile> probe_disk(const File& file, const DiskProbeOptions& options) {
  const std::vector<uint32_t> sizes = read_sizes_in(file, options.slice_bytes);
  if (sizes.empty()) return error(Code::kInvalidArgument, fmt::format("{}: too small to measure", file.path()));
  ASSIGN_OR_RETURN(const Region memory, read_memory());
  std::vector<ReadRate> tried;
  std::string queue_name;
  // Each try starts where no other has read: the file is dealt out from a random place on.
  std::mt19937_64 random(options.seed);
  uint64_t offset = random() % std::max<uint64_t>(file.size_bytes(), 1);
  RETURN_IF_ERROR(wake_disk(file, options, offset, memory));
  offset += kPageBytes;
  const double end_s = options.now_s() + options.time_s;
  size_t n_left = std::size(kProbeDepths) * sizes.size();
  for (const unsigned depth : kProbeDepths) {
    ASSIGN_OR_RETURN(const auto queue, options.open_queue(depth));
    queue_name = queue->name();
    for (const uint32_t read_bytes : sizes) {
      const double left_s = end_s - options.now_s();
      const ReadTiming timing{.limit_s = left_s / static_cast<double>(n_left), .now_s = options.now_s};
      const uint64_t bytes = bytes_of_try(tried, uint64_t{depth} * read_bytes, options.bytes_per_try, left_s, n_left--);
      if (bytes == 0) continue;
      ASSIGN_OR_RETURN(const double bytes_per_s,
                       measure_disk_bytes_per_s(file, *queue, read_bytes, bytes, offset, memory, timing));
      offset += bytes;
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
