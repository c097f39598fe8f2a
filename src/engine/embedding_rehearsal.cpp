// SPDX-License-Identifier: MIT
#include "engine/embedding_rehearsal.h"

#include <fmt/format.h>
#include <ggml-backend.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "backend/kernel_limits.h"
#include "backend/llama_call.h"
#include "backend/llama_handles.h"
#include "engine/weight_index.h"

namespace spillway {
namespace {

constexpr uint32_t kRehearsedTokens = 32;  // of context: the least that libllama takes is more

// Of what the file decides: weights, and rows of whole numbers.
std::string weight_refusal(const ggml_tensor* node) {
  if (computes_nothing(node)) return "";
  if (std::string why = figure_refusal(node); !why.empty()) return why;
  for (int s = 0; s < GGML_MAX_SRC; ++s) {
    if (node->src[s] == nullptr) continue;
    ggml_backend_buffer_t buffer = root_of(node->src[s])->buffer;
    const bool is_weight =
        buffer != nullptr && ggml_backend_buffer_get_usage(buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS;
    if (!is_weight && node->src[s]->type != GGML_TYPE_I32) continue;
    if (std::string why = type_refusal(node, s); !why.empty()) return why;
  }
  return "";
}

// Never a stop: so all of the graph is shown. It is built anew for each pass.
bool compute_nothing(ggml_tensor* node, bool ask, void* user) {
  if (!ask) return false;
  auto& refusal = *static_cast<std::string*>(user);
  const bool on_host = node->buffer == nullptr || ggml_backend_buffer_is_host(node->buffer);
  if (on_host && refusal.empty()) refusal = weight_refusal(node);
  node->op = GGML_OP_NONE;
  return false;
}

}  // namespace

Result<void> rehearse_embedding(llama_model* model, llama_context_params params, bool encodes) {
  if (llama_model_has_encoder(model) && llama_model_has_decoder(model))
    return error(Code::kUnsupported, "a model of an encoder and a decoder makes no embeddings here");
  params.n_ctx = params.n_batch = params.n_ubatch = kRehearsedTokens;
  params.n_threads = params.n_threads_batch = 1;  // what is thrown in a pass is caught then
  std::string refusal;                            // of the first node that ggml has no code for
  params.cb_eval = compute_nothing;
  params.cb_eval_user_data = &refusal;
  params.abort_callback = nullptr;
  const llama_vocab* vocab = llama_model_get_vocab(model);
  llama_token token = std::max(0, llama_vocab_bos(vocab));
  if (token >= llama_vocab_n_tokens(vocab)) token = 0;
  const auto outcome = call_llama([&] {
    const LlamaContextPtr context(llama_init_from_model(model, params));
    if (context == nullptr) return true;  // making the real one says why
    llama_batch batch = llama_batch_get_one(&token, 1);
    const int32_t failed = encodes ? llama_encode(context.get(), batch) : llama_decode(context.get(), batch);
    return failed == 0 && llama_get_embeddings_seq(context.get(), 0) != nullptr;
  });
  if (!refusal.empty()) return error(Code::kUnsupported, std::move(refusal));
  if (outcome && *outcome) return {};
  if (!outcome && outcome.error().code() != Code::kUnsupported) return Failure(outcome.error());
  constexpr std::string_view kNone = "this model makes no embeddings";
  return outcome ? error(Code::kUnsupported, std::string(kNone))
                 : error(Code::kUnsupported, fmt::format("{}: {}", kNone, outcome.error().message()));
}

}  // namespace spillway
