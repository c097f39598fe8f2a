// SPDX-License-Identifier: MIT
#pragma once

namespace spillway {

// Threads that compute together: ggml has room for no more (GGML_MAX_N_THREADS), and GNU OpenMP keeps what it knows of
// a team on the stack.
inline constexpr unsigned kThreadsMax = 512;

}  // namespace spillway
