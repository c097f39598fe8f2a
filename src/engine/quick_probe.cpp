// SPDX-License-Identifier: MIT
#include "engine/quick_probe.h"

#include <fmt/format.h>

#include <random>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/median.h"
#include "base/notice.h"

namespace spillway {
namespace {

// Files smaller than this tell nothing about the disk.
constexpr uint64_t kFileBytesMin = 512 * MiB;

// Thirty to a hundred milliseconds.
constexpr uint64_t kAgainBytes = 96 * MiB;
constexpr uint64_t kAgainTries = 3;

// Another one each time, and not near the last.
uint64_t random_seed() { return std::mt19937_64(static_cast<uint64_t>(monotonic_s() * 1e6))(); }

}  // namespace

const File& largest_file(const GgufModel& model) {
  const File* largest = model.files.front().get();
  for (const auto& file : model.files)
    if (file->size_bytes() > largest->size_bytes()) largest = file.get();
  return *largest;
}

std::optional<DiskProfile> probe_model_disk(const GgufModel& model, RingKind ring) {
  const File& file = largest_file(model);
  if (file.size_bytes() < kFileBytesMin) return std::nullopt;
  DiskProbeOptions options;
  options.ring = ring;
  options.seed = random_seed();  // other offsets than last time
  auto probe = probe_disk(file, options);
  if (probe) return *std::move(probe);
  notice(fmt::format("the disk could not be measured: {}", probe.error().message()));
  return std::nullopt;
}

double probe_model_disk_again(const GgufModel& model, const DiskProfile& probed) {
  const File& file = largest_file(model);
  std::vector<double> rates{probed.disk_bytes_per_s};
  const auto ring = open_read_ring(probed.ring == "threads" ? RingKind::kThreads : RingKind::kBest, probed.depth);
  if (!ring) return probed.disk_bytes_per_s;
  const uint64_t first = random_seed() % file.size_bytes();
  for (uint64_t i = 0; i < kAgainTries; ++i) {
    const auto rate = measure_disk_bytes_per_s(file, **ring, probed.read_bytes, kAgainBytes,
                                               first + i * file.size_bytes() / kAgainTries);
    if (!rate) break;  // a disk that fails is told of by the load's own reads
    rates.push_back(*rate);
  }
  return median(std::move(rates));
}

}  // namespace spillway
