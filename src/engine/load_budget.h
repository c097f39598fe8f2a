// SPDX-License-Identifier: MIT
// What a run on this machine may take, now. Thread-safe.
#pragma once

#include <cstdint>

#include "os/machine.h"

namespace spillway {

// For the whole process: what was asked for, or with 0 what is free, less headroom; inside a memory cgroup never up to
// its very limit: a notice says where more than that limit was asked for. What this process holds already counts as
// free.
uint64_t budget_bytes_for(uint64_t asked_bytes);

// The same for a machine in that state and a process that holds so much.
uint64_t budget_bytes_for(uint64_t asked_bytes, const MemoryState& memory, uint64_t rss_bytes);

}  // namespace spillway
