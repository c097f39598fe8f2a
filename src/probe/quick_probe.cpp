// SPDX-License-Identifier: MIT
#include "probe/quick_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/median.h"
#include "base/notice.h"
#include "hw/timed_reads.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

// Files smaller than this tell nothing about the disk.
constexpr uint64_t kFileBytesMin = 512 * MiB;

constexpr double kDiskSample_s = 0.05;
constexpr uint64_t kSampleBytesMin = 16 * MiB, kSampleBytesMax = 128 * MiB;
constexpr uint64_t kPlaces = 7;

// Another one each time, and not near the last.
uint64_t random_seed() { return std::mt19937_64(static_cast<uint64_t>(monotonic_s() * 1e6))(); }

}  // namespace

const File& largest_file(const GgufModel& model) {
  const File* largest = model.files.front().get();
  for (const auto& file : model.files)
    if (file->size_bytes() > largest->size_bytes()) largest = file.get();
  return *largest;
}

std::optional<DiskProfile> probe_model_disk(const GgufModel& model, IoQueueKind queue) {
  return probe_file_disk(largest_file(model), typical_matrix_bytes(model), queue);
}

std::optional<DiskProfile> probe_file_disk(const File& file, uint64_t slice_bytes, IoQueueKind queue) {
  if (file.size_bytes() < kFileBytesMin) return std::nullopt;
  DiskProbeOptions options;
  options.open_queue = [queue](unsigned depth) { return open_io_queue(queue, depth); };
  options.slice_bytes = slice_bytes;
  options.seed = random_seed();  // other offsets than last time
  auto probe = probe_disk(file, options);
  if (probe) return *std::move(probe);
  notice(fmt::format("the disk could not be measured: {}", probe.error().message()));
  return std::nullopt;
}

DiskSamples::DiskSamples(const GgufModel& model, const DiskProfile& probed, uint64_t free_bytes)
    : file_(largest_file(model)),
      probed_(probed),
      first_offset_(random_seed() % std::max<uint64_t>(file_.size_bytes(), 1)),
      memory_(read_memory(read_memory_bytes(probed.depth, probed.read_bytes, free_bytes))),
      rates_{probed.disk_bytes_per_s} {}

void DiskSamples::take_sample() {
  const auto queue =
      open_io_queue(probed_.io_queue == "threads" ? IoQueueKind::kThreads : IoQueueKind::kBest, probed_.depth);
  if (!queue || !memory_) return;
  const auto bytes = static_cast<uint64_t>(probed_.disk_bytes_per_s * kDiskSample_s);
  // A slow disk's queue is full once.
  const uint64_t bytes_min = std::min(kSampleBytesMin, uint64_t{probed_.depth} * probed_.read_bytes);
  const uint64_t offset = first_offset_ + n_tries_++ * file_.size_bytes() / kPlaces;
  const auto rate = measure_disk_bytes_per_s(file_, **queue, probed_.read_bytes,
                                             std::clamp(bytes, bytes_min, kSampleBytesMax), offset, *memory_);
  if (rate) rates_.push_back(*rate);
}

double DiskSamples::disk_bytes_per_s() const { return median(rates_); }

}  // namespace spillway
