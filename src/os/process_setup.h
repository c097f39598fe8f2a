// SPDX-License-Identifier: MIT
// What a program makes sure of before it does anything else.
#pragma once

namespace spillway {

// - Files 0, 1 and 2 are open, so that nothing else gets their numbers.
// - A write to a pipe that nobody reads, or beyond `ulimit -f`, is an error of the call, not the end of the process.
// - As many files may be open as the system lets this process have.
void prepare_process();

// Whether the system gives random numbers. Where a sandbox refuses them, glibc ends the process at the first library
// that asks (a Vulkan driver's XML reader does).
bool has_random_numbers();

}  // namespace spillway
