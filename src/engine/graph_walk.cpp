// SPDX-License-Identifier: MIT
#include "engine/graph_walk.h"

#include <ggml-backend.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "backend/kernel_limits.h"
#include "backend/llama_call.h"
#include "backend/llama_handles.h"
#include "engine/cache_params.h"
#include "model/ggml_log.h"

namespace spillway {
namespace {

constexpr uint32_t kTokens = 32;  // of context: the least that libllama takes is more

struct Walker {
  const WeightIndex* index = nullptr;
  PassOrder* order = nullptr;
  bool any_on_devices = false;
  bool met_device = false;
  bool only_shows = false;   // nodes are made to compute nothing, and the pass succeeds
  std::string refusal = {};  // of the first node that ggml has no code for
};

// What a device holds and the host computes with is copied, under a name of both.
bool is_copy(const ggml_tensor* root) {
  return root->op == GGML_OP_NONE && std::string_view(root->name).find('#') != std::string_view::npos;
}

// Rows of a weight of whole numbers are such numbers as well, and go further into a graph than weights do.
bool is_of_file(const ggml_tensor* source, const Walker& walker) {
  if (source->type == GGML_TYPE_I32) return true;
  const ggml_tensor* root = root_of(source);
  return walker.index->find(root->data) != WeightIndex::kNone || (walker.any_on_devices && is_copy(root));
}

std::string refusal_of(const ggml_tensor* node, const Walker& walker) {
  if (computes_nothing(node)) return "";
  if (std::string why = figure_refusal(node); !why.empty()) return why;
  for (int s = 0; s < GGML_MAX_SRC; ++s) {
    if (node->src[s] == nullptr || !is_of_file(node->src[s], walker)) continue;
    if (std::string why = type_refusal(node, s); !why.empty()) return why;
  }
  return "";
}

// Never a stop: so all of a graph is shown before the first node of it computes.
bool see(ggml_tensor* node, bool ask, void* user) {
  auto* walker = static_cast<Walker*>(user);
  if (!ask) return false;
  const bool on_device = node->buffer != nullptr && !ggml_backend_buffer_is_host(node->buffer);
  walker->met_device = walker->met_device || on_device;
  walker->order->note(node, *walker->index);
  if (!on_device && walker->refusal.empty()) walker->refusal = refusal_of(node, *walker);
  if (walker->only_shows) node->op = GGML_OP_NONE;  // the graph is built anew for each pass
  return false;
}

bool stop_at_once(void* user) { return !static_cast<const Walker*>(user)->only_shows; }

// false: libllama makes no such context.
bool walk(llama_model* model, const CacheFormat& cache, Walker& walker) {
  const bool encodes = llama_model_has_encoder(model), decodes = llama_model_has_decoder(model);
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = kTokens;
  params.n_threads = params.n_threads_batch = 1;  // what is thrown in a pass is caught then
  params.embeddings = !decodes;
  if (decodes) params.n_outputs_max = 1;  // logits of 32 tokens are 32 MiB for a vocabulary of 262,144
  params.op_offload = false;
  set_cache_format(cache, params);
  params.no_perf = true;
  params.cb_eval = see;
  params.cb_eval_user_data = &walker;
  params.abort_callback = stop_at_once;
  params.abort_callback_data = &walker;
  const LlamaContextPtr context(llama_init_from_model(model, params));
  if (context == nullptr) return false;
  llama_token token = std::max(0, llama_vocab_bos(llama_model_get_vocab(model)));
  if (token >= llama_vocab_n_tokens(llama_model_get_vocab(model))) token = 0;
  const auto pass = [&](bool encode) {
    llama_batch batch = llama_batch_get_one(&token, 1);
    encode ? llama_encode(context.get(), batch) : llama_decode(context.get(), batch);
  };
  // libllama's decoder asserts that its encoder was run, and one that was stopped was not. Where devices compute, too,
  // a pass that the host stops does not show what comes behind it.
  walker.only_shows = walker.any_on_devices || (encodes && decodes);
  if (encodes || !decodes) pass(true);
  walker.only_shows = walker.any_on_devices;
  if (decodes) pass(false);
  return true;
}

}  // namespace

Result<std::optional<GraphWalk>> walk_graph(llama_model* model, const WeightIndex& index, const CacheFormat& cache,
                                            bool any_on_devices) {
  GraphWalk result;
  Walker walker{.index = &index, .order = &result.order, .any_on_devices = any_on_devices};
  GgmlErrorCapture log;  // that a pass was aborted is known
  ASSIGN_OR_RETURN(const bool walked, call_llama([&] { return walk(model, cache, walker); }));
  if (!walker.refusal.empty()) return error(Code::kUnsupported, walker.refusal);
  if (!walked || result.order.uses().empty()) return std::optional<GraphWalk>{};
  // What devices read is not the host's weights.
  result.complete = !any_on_devices && !walker.met_device;
  return std::optional<GraphWalk>(std::move(result));
}

}  // namespace spillway
