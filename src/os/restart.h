// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace spillway {

// For main(), first thing: some libraries read their settings from the environment before main() runs. Unless `name` is
// set already, sets it and starts this program again in place (same process id, arguments, files). Returns when there
// was nothing to do or the system refused.
void restart_with(const char* name, const char* value, char** argv);

// GNU OpenMP's waiting threads spin for 300,000 rounds (milliseconds) before they sleep. ggml's threads wait at
// hundreds of barriers a token, and where anything else wants the CPU (the thread that reads weights, another program)
// the one waited for is kept off it by those that wait: measured on 2 cores beside a compiler, 0.27 against 2.06 tok/s
// when streaming and 1.1 against 4.4 resident. On an idle machine short spinning costs nothing (docs/benchmarks.md).
inline void restart_with_short_spinning(char** argv) { restart_with("GOMP_SPINCOUNT", "1000", argv); }

// OMP_NUM_THREADS ("8", "4,2") with no number in it above kThreadsMax. Pure.
std::string bounded_thread_list(std::string_view list);

// As restart_with(), where OMP_NUM_THREADS asks for more threads than kThreadsMax: ggml's code for AMX starts as many,
// whatever it was told, and GNU OpenMP ends the process where they do not fit on its stack.
void restart_with_bounded_threads(char** argv);

}  // namespace spillway
