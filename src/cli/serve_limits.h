// SPDX-License-Identifier: MIT
// How much of what the system gives this process clients may take: the rest is for models. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spillway {

// Connections, each of which is an open file, of a process that may have so many open. A model in memory takes about
// five, one that streams a few more for each of its parts. At least 1, at most `n_max`.
size_t connections_at_once(uint64_t n_files, size_t n_max);

// Requests, each of which may take a thread, of a process that may have so many. What computes and what is always there
// comes first, then clients have half: OpenMP ends the process at a thread that it does not get. At least 1, at most
// `n_max`.
size_t requests_at_once(uint64_t n_threads, unsigned n_cpus, size_t n_max);

// Requests that so many connections may have answered at once: a sixteenth of them is for those who are told to try
// again. At least 1.
size_t requests_of(size_t n_connections);

}  // namespace spillway
