// SPDX-License-Identifier: MIT
#include "cli/serve_limits.h"

#include <algorithm>

#include "base/saturating_sub.h"

namespace spillway {

size_t connections_at_once(uint64_t n_files, size_t n_max) {
  constexpr uint64_t kFilesForModels = 256;
  const uint64_t n_left = n_files - std::min(n_files - n_files / 2, kFilesForModels);
  return static_cast<size_t>(std::clamp<uint64_t>(n_left, 1, n_max));
}

size_t requests_at_once(uint64_t n_threads, unsigned n_cpus, size_t n_max) {
  constexpr uint64_t kOwnThreads = 16;
  const uint64_t n_left = saturating_sub(n_threads, kOwnThreads + n_cpus);
  return static_cast<size_t>(std::clamp<uint64_t>(n_left / 2, 1, n_max));
}

size_t requests_of(size_t n_connections) {
  return std::max<size_t>(n_connections - std::min(n_connections, (n_connections + 15) / 16), 1);
}

}  // namespace spillway
