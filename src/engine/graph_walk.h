// SPDX-License-Identifier: MIT
// Sees what a pass over a loaded model does with its weights without computing it: libllama builds the graph, ggml asks
// about every node of it, and the first node ends the pass.
#pragma once

#include <llama.h>

#include <optional>

#include "base/status.h"
#include "engine/pass_order.h"
#include "plan/cache_format.h"

namespace spillway {

struct GraphWalk {
  PassOrder order;
  bool complete = false;  // every node was seen; else (layers on devices) only some were
};

// In a small context of its own, which is gone afterwards. An encoder's graph comes before the decoder's. nullopt where
// libllama makes no such context, or no graph for one token.
//   Unsupported   the file's figures make libllama throw or give up, or ggml has no code for a type or figure of it
Result<std::optional<GraphWalk>> walk_graph(llama_model* model, const WeightIndex& index, const CacheFormat& cache,
                                            bool any_on_devices);

}  // namespace spillway
