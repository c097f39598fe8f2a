// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "os/read_ring.h"

namespace spillway {

// One thread per read in flight, each in pread.
std::unique_ptr<ReadRing> make_thread_ring(unsigned depth);

}  // namespace spillway
