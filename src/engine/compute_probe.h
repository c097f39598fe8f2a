// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "base/status.h"

namespace spillway {

// Bytes of weights per second that a matrix-vector product gets through in this type ("q4_K") with `n_threads`,
// measured through ggml on matrices that exceed the caches. Takes about a tenth of a second; 0 when ggml cannot.
double measure_compute_bytes_per_s(const std::string& type, unsigned n_threads);

}  // namespace spillway
