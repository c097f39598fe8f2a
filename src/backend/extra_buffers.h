// SPDX-License-Identifier: MIT
// The extra buffer types of a processor: ggml puts weights into other forms there (CPU_REPACK; AMX's tiles), which
// llama.cpp's default kernels multiply by. Asked as libllama asks. Any thread.
#pragma once

#include <ggml-backend.h>

#include <cstdint>

namespace spillway {

// CPU_REPACK interleaves the rows of a matrix in groups of 4, 8 or 16, AMX makes tiles of 16: one group behind the
// other, so that a part of whole groups can be put in place alone.
inline constexpr int64_t kRowsOfGroup = 16;
// As libllama asks whether there is a kernel: a long prompt's product.
inline constexpr int64_t kTokensAsked = 512;

// Where libllama would put the weight that `product` (MUL_MAT, MUL_MAT_ID) multiplies by, its source number 0; nullptr:
// where plain ones are. The weight's own buffer is as before.
ggml_backend_buffer_type_t extra_buffer_type(ggml_backend_dev_t device, ggml_tensor* product);

}  // namespace spillway
