// SPDX-License-Identifier: MIT
// How this program is started again.
#pragma once

#include <string>

namespace spillway {

// The path of a program that is this one. A package with a C library of its own starts us through that library's
// loader, and then /proc/self/exe is the loader: its launcher says in SPILLWAY_LAUNCHER what to start instead. Reads
// the environment; call it while no other thread changes that.
std::string own_program();

// Where a launcher started us: the name that `ps` and `pgrep` show becomes ours, instead of the loader's. For the main
// thread.
void take_own_name();

}  // namespace spillway
