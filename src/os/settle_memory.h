// SPDX-License-Identifier: MIT
// Memory that a virtual machine has never used costs the machine beneath it a page at a time when it is first touched:
// 3.6 s per GB where this was measured, paid by the first run. Touching it beforehand takes that out of timings.
#pragma once

#include <cstdint>
#include <functional>

#include "base/status.h"

namespace spillway {

// Takes `bytes` from the system, at most nine tenths of what is available, writes to each page with `n_threads` and
// gives all of it back. The seconds that took for each byte: about 0.2e-9 where memory is there already.
// `on_progress`: from the calling thread, with the share that is done; false stops.
//   OutOfBudget   nothing is available     Cancelled
Result<double> settle_memory(uint64_t bytes, unsigned n_threads, const std::function<bool(double)>& on_progress);

}  // namespace spillway
