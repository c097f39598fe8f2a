// SPDX-License-Identifier: MIT
#include "engine/load_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/notice.h"
#include "base/saturating_sub.h"
#include "os/machine.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

// Of a memory cgroup's limit, kept for what is charged to it and is no page of ours: page tables (2 MiB per GiB in 4
// KiB pages), the kernel's own.
constexpr double kCgroupShare = 0.97;

uint64_t cgroup_bytes(const MemoryState& memory) {
  return static_cast<uint64_t>(kCgroupShare * static_cast<double>(memory.limit_bytes));
}

// Headroom is for everybody else on the machine; in a cgroup's limit nobody else counts but who is in it.
uint64_t free_ram_bytes(const MemoryState& memory, uint64_t rss_bytes) {
  const auto share = static_cast<uint64_t>(kHeadroomShare * static_cast<double>(memory.total_bytes));
  const uint64_t machine_bytes = memory.machine_available_bytes;
  const uint64_t headroom = std::min(std::max(kHeadroomBytesMin, share), machine_bytes / 4);
  uint64_t bytes = machine_bytes - headroom;
  if (memory.limited_by_cgroup) {
    const uint64_t kept = memory.limit_bytes - cgroup_bytes(memory);
    bytes = std::min(bytes, saturating_sub(memory.available_bytes, kept));
  }
  return bytes + rss_bytes;
}

}  // namespace

uint64_t budget_bytes_for(uint64_t asked_bytes) {
  return budget_bytes_for(asked_bytes, memory_state(), process_usage().rss_bytes);
}

uint64_t budget_bytes_for(uint64_t asked_bytes, const MemoryState& memory, uint64_t rss_bytes) {
  const uint64_t bytes = asked_bytes > 0 ? asked_bytes : free_ram_bytes(memory, rss_bytes);
  if (!memory.limited_by_cgroup || bytes <= cgroup_bytes(memory)) return bytes;
  if (asked_bytes > memory.limit_bytes)
    notice(fmt::format("{} of memory were asked for, and the limit of this process's cgroup is {}: raise that too",
                       format_bytes(asked_bytes), format_bytes(memory.limit_bytes)));
  return cgroup_bytes(memory);
}

}  // namespace spillway
