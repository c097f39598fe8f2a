// SPDX-License-Identifier: MIT
#include "backend/extra_buffers.h"

#include <ggml.h>

#include "backend/ggml_handles.h"

namespace spillway {

ggml_backend_buffer_type_t extra_buffer_type(ggml_backend_dev_t device, ggml_tensor* product) {
  auto* get = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
  ggml_tensor& weight = *product->src[0];
  ggml_backend_buffer_t own = weight.buffer;
  ggml_backend_buffer_type_t found = nullptr;
  for (ggml_backend_buffer_type_t* type = get != nullptr ? get(device) : nullptr;
       type != nullptr && *type != nullptr && found == nullptr; ++type) {
    const BufferPtr empty(ggml_backend_buft_alloc_buffer(*type, 0));
    weight.buffer = empty.get();
    if (ggml_backend_dev_supports_op(device, product)) found = *type;
  }
  weight.buffer = own;
  return found;
}

}  // namespace spillway
