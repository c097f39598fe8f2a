// SPDX-License-Identifier: MIT
// How many threads the system gives. OpenMP ends the process at one that it does not get, so nobody else may take all.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "os/cgroup_parse.h"

namespace spillway {

// The smaller of `ulimit -u` and what the cgroups allow (pids.max: a container's --pids-limit), shared with all that
// count there: an upper bound. UINT64_MAX: no limit is known.
uint64_t tasks_max();

// Starts so many threads at once, which end again (some 30 us each): what the limits above leave is known by trying
// alone.
//   Busy   the system gives fewer
Result<void> try_threads(unsigned n);

// The threads that a model which computes with `n` takes at the least beside the one that loads it: two teams of
// OpenMP, for loading and for decoding, and what reads, watches memory, decodes and renders. For n = 2 it ran with
// five, and OpenMP ended the process with four.
inline constexpr unsigned threads_of_model(unsigned n) { return 2 * n + 1; }

// The same from the texts of the system and RLIMIT_NPROC (UINT64_MAX: none). Pure.
uint64_t tasks_max_from(const TextSource& read, uint64_t process_limit);

}  // namespace spillway
