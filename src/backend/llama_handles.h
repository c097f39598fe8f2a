// SPDX-License-Identifier: MIT
// libllama's objects, owned; its start-up, once.
#pragma once

#include <llama.h>

#include <memory>

#include "base/status.h"

namespace spillway {

struct LlamaModelDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct LlamaContextDeleter {
  void operator()(llama_context* context) const { llama_free(context); }
};
struct LlamaSamplerDeleter {
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};
using LlamaModelPtr = std::unique_ptr<llama_model, LlamaModelDeleter>;
using LlamaContextPtr = std::unique_ptr<llama_context, LlamaContextDeleter>;
using LlamaSamplerPtr = std::unique_ptr<llama_sampler, LlamaSamplerDeleter>;

// Loads ggml's backends and starts libllama; the first call does it, any thread. Backends come from $SPILLWAY_BACKENDS,
// the folder this build was made with, or where ggml looks itself.
//   Unsupported   no CPU backend was found
Result<void> start_llama();

}  // namespace spillway
