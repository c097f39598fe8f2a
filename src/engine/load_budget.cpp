// SPDX-License-Identifier: MIT
#include "engine/load_budget.h"

#include <algorithm>

#include "os/machine.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

uint64_t free_ram_bytes() {
  const MemoryState memory = memory_state();
  const auto share = static_cast<uint64_t>(kHeadroomShare * static_cast<double>(memory.total_bytes));
  const uint64_t headroom = std::min(std::max(kHeadroomBytesMin, share), memory.available_bytes / 4);
  return memory.available_bytes - headroom + process_usage().rss_bytes;
}

// Of a memory cgroup's limit, kept for what is charged to it and is no page of ours: page tables (2 MiB per GiB in 4
// KiB pages), the kernel's own.
constexpr double kCgroupShare = 0.97;

}  // namespace

uint64_t budget_bytes_for(uint64_t asked_bytes) {
  const uint64_t bytes = asked_bytes > 0 ? asked_bytes : free_ram_bytes();
  const MemoryState memory = memory_state();
  if (!memory.limited_by_cgroup) return bytes;
  return std::min(bytes, static_cast<uint64_t>(kCgroupShare * static_cast<double>(memory.limit_bytes)));
}

}  // namespace spillway
