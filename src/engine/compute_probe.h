// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace spillway {

// Bytes of weights per second that a matrix-vector product gets through in this type ("q4_K") with `n_threads`,
// measured through ggml on matrices of `matrix_bytes` that exceed the caches together, each product waiting for the one
// before as in a model. Takes about two tenths of a second; 0 when ggml cannot.
double measure_compute_bytes_per_s(const std::string& type, unsigned n_threads, uint64_t matrix_bytes);

}  // namespace spillway
