// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "os/io_queue.h"

namespace spillway {

// One thread per read in flight, each in pread; fewer where the system does not give so many and `n_threads_kept` more.
//   Busy   it gives none
Result<std::unique_ptr<IoQueue>> make_thread_queue(unsigned depth, unsigned n_threads_kept);

}  // namespace spillway
