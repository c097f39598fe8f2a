// SPDX-License-Identifier: MIT
// Owners of what ggml hands out.
#pragma once

#include <ggml-backend.h>
#include <ggml.h>

#include <memory>

namespace spillway {

struct GgmlDeleter {
  void operator()(ggml_backend_t backend) const { ggml_backend_free(backend); }
  void operator()(ggml_context* context) const { ggml_free(context); }
  void operator()(ggml_backend_buffer_t buffer) const { ggml_backend_buffer_free(buffer); }
};
using BackendPtr = std::unique_ptr<ggml_backend, GgmlDeleter>;
using ContextPtr = std::unique_ptr<ggml_context, GgmlDeleter>;
using BufferPtr = std::unique_ptr<ggml_backend_buffer, GgmlDeleter>;

}  // namespace spillway
