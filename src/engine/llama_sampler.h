// SPDX-License-Identifier: MIT
// libllama's samplers as a Sampler.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "engine/llama_handles.h"

namespace spillway {

// Both must outlive the sampler; `context` may come to own another context meanwhile. nullptr: the grammar cannot be
// parsed.
std::unique_ptr<Sampler> make_llama_sampler(const LlamaContextPtr& context, const llama_vocab* vocab,
                                            const SamplingOptions& options);

}  // namespace spillway
