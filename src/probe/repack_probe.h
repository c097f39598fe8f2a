// SPDX-License-Identifier: MIT
// How fast ggml puts weights into the form that its repacked kernels multiply by, measured.
#pragma once

#include <ggml.h>

namespace spillway {

// Bytes of the file that one core gets through in a second, in parts and between buffers as streaming has them; 0: the
// processor has no such form for the type, or there is no memory to try. About `time_s` of CPU time.
double measure_repacking(ggml_type type, double time_s);

}  // namespace spillway
