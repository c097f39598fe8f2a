// SPDX-License-Identifier: MIT
// libllama's samplers as a Sampler.
#pragma once

#include <memory>

#include "backend/llama_handles.h"
#include "engine/engine.h"
#include "grammar/token_texts.h"

namespace spillway {

// `context` and `vocab` must outlive the sampler; `context` may come to own another context meanwhile. `texts`, those
// of the vocabulary, are needed under a grammar alone, and shared by all samplers of the model.
std::unique_ptr<Sampler> make_llama_sampler(const LlamaContextPtr& context, const llama_vocab* vocab,
                                            std::shared_ptr<const TokenTexts> texts, const SamplingOptions& options);

}  // namespace spillway
