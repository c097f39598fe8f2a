// SPDX-License-Identifier: MIT
// What ggml's kernels for the CPU do not compute. They look at types and figures only while they compute, on threads
// where nothing can be caught, and end the process at what they have no code for: a norm in f16 is enough.
#pragma once

#include <ggml.h>

#include <string>

namespace spillway {

// Why `node` cannot be computed with its source `s`, whose type the file decides; empty where it can, and of operations
// that take more than is known here.
std::string type_refusal(const ggml_tensor* node, int s);

// Why `node` cannot be computed with the figures that the file gives for it; empty: as above.
std::string figure_refusal(const ggml_tensor* node);

// Of GGML_OP_GET_ROWS whose numbers of rows lie in this process's memory and are known: a row that is not there.
std::string row_refusal(const ggml_tensor* node);

}  // namespace spillway
