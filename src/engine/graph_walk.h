// SPDX-License-Identifier: MIT
// Sees what a pass over a loaded model does with its weights without computing it: libllama builds the graph, ggml asks
// about every node of it, and the first node ends the pass. Where devices take part, no node computes anything.
#pragma once

#include <llama.h>

#include <optional>

#include "base/status.h"
#include "engine/pass_order.h"
#include "plan/cache_format.h"

namespace spillway {

struct GraphWalk {
  PassOrder order;
  bool complete = false;  // of every weight it is known what reads it; else (layers on devices) of the host's alone
};

// In a small context of its own, which is gone afterwards. An encoder's graph comes before the decoder's. nullopt where
// libllama makes no such context, or no graph for one token.
//   Unsupported   the file's figures make libllama throw or give up, or ggml has no code for a type or figure of it
Result<std::optional<GraphWalk>> walk_graph(llama_model* model, const WeightIndex& index, const CacheFormat& cache,
                                            bool any_on_devices);

}  // namespace spillway
