// SPDX-License-Identifier: MIT
// What a text's embedding is read from, gone through once without computing it: libllama ends the process where a file
// says that an embedding has more numbers (embedding_length_out) than its graph makes, and ggml where it has no code
// for the type of a weight. The head of a model that ranks is in this graph alone.
#pragma once

#include <llama.h>

#include "base/status.h"

namespace spillway {

// In a small context of its own, made as `params` say, which is gone afterwards.
//   Unsupported   no embedding can be read: what libllama says of it; or ggml has no code for a type or figure of it
//   OutOfBudget   there was no memory
Result<void> rehearse_embedding(llama_model* model, llama_context_params params, bool encodes);

}  // namespace spillway
