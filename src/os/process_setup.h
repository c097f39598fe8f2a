// SPDX-License-Identifier: MIT
// What a program makes sure of before it does anything else.
#pragma once

#include <cstdint>

namespace spillway {

// - Files 0, 1 and 2 are open, so that nothing else gets their numbers. To a standard output that was closed nothing
//   can be written: who writes there gets an error, not silence.
// - A write to a pipe that nobody reads, or beyond `ulimit -f`, is an error of the call, not the end of the process.
// - As many files may be open as the system lets this process have.
void prepare_process();

// Files, sockets and pipes that this process may have open at once (`ulimit -n`).
uint64_t open_files_max();

// Whether the system gives random numbers. Where a sandbox refuses them, glibc ends the process at the first library
// that asks (a Vulkan driver's XML reader does).
bool has_random_numbers();

// Whether a thread's stack may be as large as libraries take it to be (`ulimit -s`, of which all threads have as much).
bool has_stack();

}  // namespace spillway
