// SPDX-License-Identifier: MIT
#include "engine/quick_probe.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/notice.h"

namespace spillway {
namespace {

// Files smaller than this tell nothing about the disk.
constexpr uint64_t kFileBytesMin = 512 * MiB;

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
  options.seed = static_cast<uint64_t>(monotonic_s() * 1e6);  // other offsets than last time
  auto probe = probe_disk(file, options);
  if (probe) return *std::move(probe);
  notice(fmt::format("the disk could not be measured: {}", probe.error().message()));
  return std::nullopt;
}

}  // namespace spillway
