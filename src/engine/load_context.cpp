// SPDX-License-Identifier: MIT
// The context of a loaded model, and what the engine says about the two.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "engine/load_steps.h"
#include "model/ggml_log.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

constexpr uint32_t kUbatchDefault = 512;

}  // namespace

uint32_t context_tokens(const EngineParts& parts) {
  const LoadOptions& options = parts.options;
  const uint64_t n_ctx = options.n_ctx > 0 ? options.n_ctx : default_context(parts.files);
  return static_cast<uint32_t>(options.shared_context ? n_ctx : n_ctx * options.n_seq_max);
}

Result<void> make_context(EngineParts& parts) {
  const LoadOptions& options = parts.options;
  Gate* gate = parts.gate.get();
  llama_context_params params = llama_context_default_params();
  params.n_ctx = context_tokens(parts);
  params.n_batch = std::min(options.n_batch, std::max(params.n_ctx, 32u));
  params.n_ubatch = std::min(options.n_ubatch > 0 ? options.n_ubatch : kUbatchDefault, params.n_batch);
  params.n_seq_max = options.n_seq_max;
  params.kv_unified = options.shared_context && options.n_seq_max > 1;
  params.swa_full = options.swa_full;
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options.n_threads);
  params.embeddings = options.embeddings;
  params.op_offload = options.devices.any() && options.devices.op_offload;
  params.moe_cache_size = options.devices.any() ? options.devices.expert_cache_bytes : 0;
  params.no_perf = true;
  if (!options.all_logits && !options.embeddings)
    params.n_outputs_max = std::max({options.n_outputs, options.n_seq_max, 1u});
  params.abort_callback = [](void* flag) { return static_cast<const std::atomic<bool>*>(flag)->load(); };
  params.abort_callback_data = parts.abort.get();
  if (gate != nullptr) {
    params.cb_eval = Gate::on_node;
    params.cb_eval_user_data = gate;
  }
  GgmlErrorCapture log;
  parts.context.reset(llama_init_from_model(parts.model.get(), params));
  RETURN_IF_ERROR(check_workers(parts));
  if (parts.context == nullptr)
    return error(Code::kOutOfBudget,
                 fmt::format("no context of {} tokens could be made{}{}; lower --context", params.n_ctx,
                             log.first_error().empty() ? "" : ": ", log.first_error()));
  parts.options.n_batch = llama_n_batch(parts.context.get());
  parts.options.n_ubatch = llama_n_ubatch(parts.context.get());
  return {};
}

namespace {

void describe_chat(EngineParts& parts) {
  if (!parts.info.has_tokenizer) return;
  const llama_vocab* vocab = llama_model_get_vocab(parts.model.get());
  const auto text = [&](llama_token id) -> std::string {
    const char* piece = id >= 0 ? llama_vocab_get_text(vocab, id) : nullptr;
    return piece != nullptr ? piece : "";
  };
  const char* own = llama_model_chat_template(parts.model.get(), nullptr);
  parts.info.chat_template = own != nullptr ? own : "";
  parts.info.bos_token = text(llama_vocab_bos(vocab));
  parts.info.eos_token = text(llama_vocab_eos(vocab));
  parts.info.adds_bos = llama_vocab_get_add_bos(vocab);
  const auto type = llama_vocab_type(vocab);
  if (type != LLAMA_VOCAB_TYPE_SPM && type != LLAMA_VOCAB_TYPE_BPE) return;
  for (llama_token id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
    char piece[1];
    const int32_t bytes = std::abs(llama_token_to_piece(vocab, id, piece, sizeof piece, 0, true));  // negative: no room
    parts.info.token_bytes_max = std::max(parts.info.token_bytes_max, static_cast<size_t>(bytes));
  }
}

}  // namespace

void describe_context(EngineParts& parts) {
  const llama_model* model = parts.model.get();
  const llama_context* context = parts.context.get();
  ModelInfo& info = parts.info;
  info.n_ctx = parts.options.shared_context ? llama_n_ctx(context) : llama_n_ctx_seq(context);
  info.n_ubatch = llama_n_ubatch(context);
  if (!info.has_decoder) return;
  info.window = static_cast<uint32_t>(std::max(llama_model_n_swa(model), 0));
  info.keeps_nothing_else = llama_model_is_recurrent(model);
  info.is_recurrent = info.keeps_nothing_else || llama_model_is_hybrid(model);
  // A window of the whole context never slides.
  info.needs_checkpoints = info.is_recurrent || (info.window > 0 && info.window < info.n_ctx);
}

void describe(EngineParts& parts) {
  const GgufModel& files = parts.files;
  const llama_vocab* vocab = llama_model_get_vocab(parts.model.get());
  const llama_memory_t memory = llama_get_memory(parts.context.get());
  char description[256] = "";
  llama_model_desc(parts.model.get(), description, sizeof description);
  parts.info = {.path = parts.options.path,
                .name = files.name,
                .architecture = files.architecture,
                .description = description,
                .n_params = files.n_params,
                .weight_bytes = files.weight_bytes(),
                .n_layer = files.n_layer,
                .n_expert = files.n_expert,
                .n_expert_used = files.n_expert_used,
                .n_ctx_train = files.n_ctx_train,
                .n_vocab = llama_vocab_n_tokens(vocab),
                .n_embd = static_cast<uint64_t>(llama_model_n_embd_out(parts.model.get())),
                .library = fmt::format("libllama {}", llama_version()),
                .has_tokenizer = files.has_tokenizer,
                .has_encoder = llama_model_has_encoder(parts.model.get()),
                .has_decoder = llama_model_has_decoder(parts.model.get()) && memory != nullptr};
  if (llama_pooling_type(parts.context.get()) == LLAMA_POOLING_TYPE_RANK)
    parts.info.n_scores = llama_model_n_cls_out(parts.model.get());
  describe_context(parts);
  describe_chat(parts);
}

}  // namespace spillway
