// SPDX-License-Identifier: MIT
#include "backend/llama_handles.h"

#include <ggml-backend.h>

#include <cstdlib>
#include <mutex>

#include "model/ggml_log.h"

namespace spillway {

Result<void> start_llama() {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(on_ggml_log, nullptr);
    const char* folder = std::getenv("SPILLWAY_BACKENDS");
    if (folder == nullptr && SPILLWAY_BACKENDS_DIR[0] != '\0') folder = SPILLWAY_BACKENDS_DIR;
    if (folder != nullptr) ggml_backend_load_all_from_path(folder);
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) ggml_backend_load_all();
    llama_backend_init();
  });
  if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr)
    return error(Code::kUnsupported,
                 "ggml's CPU backend was not found; set SPILLWAY_BACKENDS to the folder of libggml-cpu*.so");
  return {};
}

}  // namespace spillway
