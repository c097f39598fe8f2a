// SPDX-License-Identifier: MIT
// The context of a loaded model, and what the engine says about the two.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/bytes.h"
#include "engine/cache_params.h"
#include "engine/llama_call.h"
#include "engine/load_steps.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "plan/model_need.h"

namespace spillway {
namespace {

constexpr uint32_t kUbatchDefault = 512;

// Beyond it libllama's own sums overflow; the need of a model has no room for as many.
constexpr uint64_t kContextTokensMax = 1ull << 28;

// Passes are no longer than a batch, and that no longer than the context; libllama takes 32 tokens at least.
uint32_t batch_tokens(const LoadOptions& options, uint64_t n_ctx_all) {
  return static_cast<uint32_t>(std::min<uint64_t>(options.n_batch, std::max<uint64_t>(n_ctx_all, 32)));
}
uint32_t pass_tokens(const LoadOptions& options, uint64_t n_ctx_all) {
  return std::min(options.n_ubatch > 0 ? options.n_ubatch : kUbatchDefault, batch_tokens(options, n_ctx_all));
}
uint32_t pass_outputs(const LoadOptions& options) { return std::max({options.n_outputs, options.n_seq_max, 1u}); }

Result<uint64_t> tokens_of_all(const LoadOptions& options, uint64_t n_ctx) {
  const uint64_t n_contexts = options.shared_context ? 1 : std::max(options.n_seq_max, 1u);
  if (n_ctx > 0 && n_ctx <= kContextTokensMax / n_contexts) return n_ctx * n_contexts;
  return error(
      Code::kInvalidArgument,
      fmt::format("{} of {} tokens is not possible; lower --context",
                  n_contexts > 1 ? fmt::format("a context for each of {} sequences", n_contexts) : "a context", n_ctx));
}

// The formats were checked before; a device may still have no fused attention for them.
Failure why_no_context(uint32_t n_ctx, const std::string& why) {
  if (why.find("flash_attn") != std::string::npos || why.find("Flash Attention") != std::string::npos)
    return error(Code::kInvalidArgument,
                 fmt::format("no context of these types could be made: {}; use --cache-type-v f16", why));
  return error(Code::kOutOfBudget, fmt::format("no context of {} tokens could be made{}{}; lower --context", n_ctx,
                                               why.empty() ? "" : ": ", why));
}

}  // namespace

Result<uint32_t> context_tokens(const EngineParts& parts) {
  ASSIGN_OR_RETURN(const uint64_t n_all, tokens_of_all(parts.options, parts.options.n_ctx));
  return static_cast<uint32_t>(n_all);
}

Result<uint64_t> context_need_bytes(const EngineParts& parts, uint64_t n_ctx) {
  const LoadOptions& options = parts.options;
  ASSIGN_OR_RETURN(const uint64_t n_all, tokens_of_all(options, n_ctx));
  ASSIGN_OR_RETURN(
      const ModelNeed need,
      model_need(parts.files, {.n_ctx = n_all,
                               .n_seq = std::max(options.n_seq_max, 1u),
                               .n_ubatch = pass_tokens(options, n_all),
                               .n_outputs = pass_outputs(options),
                               .cache = options.cache,
                               .adapter_bytes = parts.checked_adapters.bytes(),
                               .projector_bytes = parts.projector_file ? parts.projector_file->need_bytes() : 0,
                               .swa_full = options.swa_full,
                               .shared = options.shared_context}));
  if (!options.devices.any()) return need.context_bytes();
  // Whole layers from the end are on devices, the output counted as one more.
  const uint64_t n_on_devices = std::min<uint64_t>(options.devices.n_gpu_layers, need.layers.size() + 1);
  const uint64_t n_on_host = need.layers.size() + 1 - n_on_devices;
  uint64_t bytes = need.output_bytes + (n_on_host > 0 ? need.compute_bytes : 0);
  for (size_t l = 0; l < std::min<size_t>(n_on_host, need.layers.size()); ++l)
    bytes += need.layers[l].kv_bytes + need.layers[l].state_bytes;
  return bytes;
}

Result<void> check_memory_left(const EngineParts& parts, uint64_t bytes) {
  const uint64_t resident_bytes = process_usage().rss_anon_bytes, budget_bytes = parts.memory.budget_bytes;
  const uint64_t in_budget_bytes = budget_bytes - std::min(budget_bytes, resident_bytes);
  const uint64_t available_bytes = memory_state().available_bytes;
  const uint64_t left_bytes = std::min(in_budget_bytes, available_bytes);
  if (bytes <= left_bytes) return {};
  return error(
      Code::kOutOfBudget,
      fmt::format("{} is needed, and {} is left of {}", format_bytes(bytes), format_bytes(left_bytes),
                  in_budget_bytes <= available_bytes ? fmt::format("the budget of {}", format_bytes(budget_bytes))
                                                     : "the machine's memory"));
}

Result<void> make_context(EngineParts& parts) {
  ASSIGN_OR_RETURN(const uint64_t need_bytes, context_need_bytes(parts, parts.options.n_ctx));
  if (const auto room = check_memory_left(parts, need_bytes); !room)
    return error(Code::kOutOfBudget,
                 fmt::format("no room for a context of {} tokens: {}; raise --ram or lower --context",
                             parts.options.n_ctx, room.error().message()));
  return make_counted_context(parts);
}

Result<void> make_counted_context(EngineParts& parts) {
  const LoadOptions& options = parts.options;
  Gate* gate = parts.gate.get();
  llama_context_params params = llama_context_default_params();
  ASSIGN_OR_RETURN(params.n_ctx, context_tokens(parts));
  params.n_batch = batch_tokens(options, params.n_ctx);
  params.n_ubatch = pass_tokens(options, params.n_ctx);
  params.n_seq_max = options.n_seq_max;
  params.kv_unified = options.shared_context && options.n_seq_max > 1;
  params.swa_full = options.swa_full;
  set_cache_format(options.cache, params);
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options.n_threads);
  params.embeddings = options.embeddings;
  params.op_offload = options.devices.any() && options.devices.op_offload;
  params.moe_cache_size = options.devices.any() ? options.devices.expert_cache_bytes : 0;
  params.no_perf = true;
  if (!options.embeddings) params.n_outputs_max = pass_outputs(options);
  params.abort_callback = [](void* flag) { return static_cast<const std::atomic<bool>*>(flag)->load(); };
  params.abort_callback_data = parts.abort.get();
  if (gate != nullptr) {
    params.cb_eval = Gate::on_node;
    params.cb_eval_user_data = gate;
  }
  GgmlErrorCapture log;
  const auto made = call_llama([&] { return llama_init_from_model(parts.model.get(), params); });
  RETURN_IF_ERROR(check_workers(parts));
  if (!made) return Failure(made.error().with_context(options.path));
  parts.context.reset(*made);
  if (parts.context == nullptr) return why_no_context(params.n_ctx, log.first_error());
  parts.adapters.use_in(parts.context.get());
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

namespace {

// Positions that a model has a row each for; libllama ends the process at others.
uint32_t positions_of(const GgufModel& model) {
  for (const TensorInfo& tensor : model.tensors)
    if (tensor.name == "position_embd.weight")
      return static_cast<uint32_t>(std::min<uint64_t>(tensor.shape[1], INT32_MAX));
  return INT32_MAX;
}

}  // namespace

void describe_context(EngineParts& parts) {
  const llama_model* model = parts.model.get();
  const llama_context* context = parts.context.get();
  ModelInfo& info = parts.info;
  info.n_ctx = std::min(parts.options.shared_context ? llama_n_ctx(context) : llama_n_ctx_seq(context),
                        positions_of(parts.files));
  info.n_ubatch = llama_n_ubatch(context);
  info.n_ctx_default = parts.n_ctx_default;
  info.n_ctx_why = parts.n_ctx_why;
  if (!info.has_decoder) return;
  info.window = static_cast<uint32_t>(std::max(llama_model_n_swa(model), 0));
  info.keeps_nothing_else = llama_model_is_recurrent(model);
  info.is_recurrent = info.keeps_nothing_else || llama_model_is_hybrid(model);
  // A window of the whole context never slides.
  info.needs_checkpoints = info.is_recurrent || (info.window > 0 && info.window < info.n_ctx);
}

namespace {

// A head that a file has is as wide as libllama's labels, or the load has failed. Without one, the scores are taken
// from the embedding, and libllama ends the process where there are more of them.
Result<void> check_scores(const EngineParts& parts) {
  const std::vector<TensorInfo>& tensors = parts.files.tensors;
  const bool has_head = std::any_of(tensors.begin(), tensors.end(),
                                    [](const TensorInfo& tensor) { return tensor.name == "cls.output.weight"; });
  if (has_head || parts.info.n_scores <= parts.info.n_embd) return {};
  return error(Code::kUnsupported, fmt::format("{}: names {} classes and has no head that tells them apart",
                                               parts.options.path, parts.info.n_scores));
}

void describe_model(EngineParts& parts) {
  const GgufModel& files = parts.files;
  const llama_vocab* vocab = llama_model_get_vocab(parts.model.get());
  const llama_memory_t memory = llama_get_memory(parts.context.get());
  char description[256] = "";
  llama_model_desc(parts.model.get(), description, sizeof description);
  parts.info = {
      .path = parts.options.path,
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
      .state_key = fmt::format("libllama {} {}{}", llama_version(), cache_format_key(parts.options.cache),
                               parts.checked_adapters.key()),
      .has_tokenizer = files.has_tokenizer,
      .sees_images = parts.projector != nullptr && files.has_tokenizer,
      .image_positions_differ = parts.projector != nullptr && parts.projector->has_positions_in_two_dimensions(),
      .has_encoder = llama_model_has_encoder(parts.model.get()),
      .has_decoder = llama_model_has_decoder(parts.model.get()) && memory != nullptr};
  if (llama_pooling_type(parts.context.get()) == LLAMA_POOLING_TYPE_RANK)
    parts.info.n_scores = llama_model_n_cls_out(parts.model.get());
  describe_context(parts);
  describe_chat(parts);
}

}  // namespace

Result<void> describe(EngineParts& parts) {
  const auto described = call_llama([&] {
    describe_model(parts);
    return true;
  });
  if (!described) return Failure(described.error().with_context(parts.options.path));
  return check_scores(parts);
}

}  // namespace spillway
