// SPDX-License-Identifier: MIT
// How many threads the system gives. OpenMP ends the process at one that it does not get, so nobody else may take all.
#pragma once

#include <cstdint>

#include "os/cgroup_parse.h"

namespace spillway {

// The smaller of `ulimit -u` and what the cgroups allow (pids.max: a container's --pids-limit), shared with all that
// count there: an upper bound. UINT64_MAX: no limit is known.
uint64_t tasks_max();

// The same from the texts of the system and RLIMIT_NPROC (UINT64_MAX: none). Pure.
uint64_t tasks_max_from(const TextSource& read, uint64_t process_limit);

}  // namespace spillway
