// SPDX-License-Identifier: MIT
#include "engine/load_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "backend/llama_call.h"
#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "engine/cache_params.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "plan/model_need.h"

namespace spillway {
namespace {

constexpr uint32_t kUbatchDefault = 512;

// Beyond it libllama's own sums overflow; the need of a model has no room for as many.
constexpr uint64_t kContextTokensMax = 1ull << 28;

// Passes are no longer than a batch, and that no longer than the context; libllama takes 32 tokens at least.
uint32_t batch_tokens(const ContextShape& shape, uint64_t n_ctx_all) {
  return static_cast<uint32_t>(std::min<uint64_t>(shape.n_batch, std::max<uint64_t>(n_ctx_all, 32)));
}
uint32_t pass_tokens(const ContextShape& shape, uint64_t n_ctx_all) {
  return std::min(shape.n_ubatch > 0 ? shape.n_ubatch : kUbatchDefault, batch_tokens(shape, n_ctx_all));
}
uint32_t pass_outputs(const LoadOptions& options, const ContextShape& shape) {
  return std::max({shape.n_outputs, options.n_seq_max, 1u});
}

Result<uint64_t> tokens_of_all(const LoadOptions& options, uint64_t n_ctx) {
  const uint64_t n_contexts = options.shared_context ? 1 : std::max(options.n_seq_max, 1u);
  if (n_ctx > 0 && n_ctx <= kContextTokensMax / n_contexts) return n_ctx * n_contexts;
  return error(
      Code::kInvalidArgument,
      fmt::format("{} of {} tokens is not possible; lower --context",
                  n_contexts > 1 ? fmt::format("a context for each of {} sequences", n_contexts) : "a context", n_ctx));
}

// The formats were checked before; a device may still have no fused attention for them.
Status why_no_context(uint32_t n_ctx, const std::string& why) {
  if (why.find("flash_attn") != std::string::npos || why.find("Flash Attention") != std::string::npos)
    return {Code::kInvalidArgument,
            fmt::format("no context of these types could be made: {}; use --cache-type-v f16", why)};
  return {Code::kOutOfBudget, fmt::format("no context of {} tokens could be made{}{}; lower --context", n_ctx,
                                          why.empty() ? "" : ": ", why)};
}

// Kimi-Linear's graph takes one, two or four conversations at once, and not three.
Status in_words_of_parallel(const Status& status, uint32_t n_seq) {
  if (n_seq <= 1 || status.code() != Code::kUnsupported) return status;
  return status.with_message(
      fmt::format("{}; the context was to be for {} conversations at once, and may do for another number (--parallel)",
                  status.message(), n_seq));
}

Result<void> make_llama_context(EngineContext& context, const MappedModel& mapped, const Decision& decision,
                                const ContextShape& shape) {
  const LoadOptions& options = mapped.request.options;
  llama_context_params params = llama_context_default_params();
  ASSIGN_OR_RETURN(const uint64_t n_all, tokens_of_all(options, shape.n_ctx));
  params.n_ctx = static_cast<uint32_t>(n_all);
  params.n_batch = batch_tokens(shape, params.n_ctx);
  params.n_ubatch = pass_tokens(shape, params.n_ctx);
  params.n_seq_max = options.n_seq_max;
  params.kv_unified = options.shared_context && options.n_seq_max > 1;
  params.swa_full = options.swa_full;
  set_cache_format(options.cache, params);
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options.n_threads);
  params.embeddings = options.embeddings;
  params.op_offload = decision.devices.any() && decision.devices.op_offload;
  params.moe_cache_size = decision.devices.any() ? decision.devices.expert_cache_bytes : 0;
  params.no_perf = true;
  if (!options.embeddings) params.n_outputs_max = pass_outputs(options, shape);
  params.abort_callback = [](void* flag) { return static_cast<const std::atomic<bool>*>(flag)->load(); };
  params.abort_callback_data = context.abort.get();
  if (context.gate != nullptr) {
    params.cb_eval = Gate::on_node;
    params.cb_eval_user_data = context.gate.get();
  }
  GgmlErrorCapture log;
  const auto made = call_llama([&] { return llama_init_from_model(mapped.llama.get(), params); });
  RETURN_IF_ERROR(mapped.check_workers());
  if (!made) return mapped.blame_file(in_words_of_parallel(made.error(), params.n_seq_max).with_context(options.path));
  context.llama.reset(*made);
  if (context.llama == nullptr) return mapped.blame(why_no_context(params.n_ctx, log.first_error()));
  mapped.adapters.use_in(context.llama.get());
  context.shape = {.n_ctx = shape.n_ctx,
                   .n_batch = llama_n_batch(context.llama.get()),
                   .n_ubatch = llama_n_ubatch(context.llama.get()),
                   .n_outputs = shape.n_outputs};
  return {};
}

}  // namespace

ContextShape shape_asked(const LoadOptions& options) {
  return {
      .n_ctx = options.n_ctx, .n_batch = options.n_batch, .n_ubatch = options.n_ubatch, .n_outputs = options.n_outputs};
}

Result<uint64_t> context_need_bytes(const LoadRequest& request, const DeviceOptions& devices, const ContextShape& shape,
                                    uint64_t n_ctx) {
  const LoadOptions& options = request.options;
  ASSIGN_OR_RETURN(const uint64_t n_all, tokens_of_all(options, n_ctx));
  ASSIGN_OR_RETURN(const ModelNeed need, model_need(request.gguf, {.n_ctx = n_all,
                                                                   .n_seq = std::max(options.n_seq_max, 1u),
                                                                   .n_ubatch = pass_tokens(shape, n_all),
                                                                   .n_outputs = pass_outputs(options, shape),
                                                                   .cache = options.cache,
                                                                   .adapter_bytes = request.adapters.bytes(),
                                                                   .projector_bytes = request.projector_bytes(),
                                                                   .swa_full = options.swa_full,
                                                                   .shared = options.shared_context}));
  if (!devices.any()) return need.context_bytes();
  // Whole layers from the end are on devices, the output counted as one more.
  const uint64_t n_on_devices = std::min<uint64_t>(devices.n_gpu_layers, need.layers.size() + 1);
  const uint64_t n_on_host = need.layers.size() + 1 - n_on_devices;
  uint64_t bytes = need.output_bytes + (n_on_host > 0 ? need.compute_bytes : 0);
  for (size_t l = 0; l < std::min<size_t>(n_on_host, need.layers.size()); ++l)
    bytes += need.layers[l].kv_bytes + need.layers[l].state_bytes;
  return bytes;
}

Result<void> check_memory_left(uint64_t budget_bytes, uint64_t bytes) {
  const uint64_t resident_bytes = process_usage().rss_anon_bytes;
  const uint64_t in_budget_bytes = saturating_sub(budget_bytes, resident_bytes);
  const uint64_t available_bytes = memory_state().available_bytes;
  const uint64_t left_bytes = std::min(in_budget_bytes, available_bytes);
  if (bytes <= left_bytes) return {};
  return error(
      Code::kOutOfBudget,
      fmt::format("{} is needed, and {} is left of {}", format_bytes(bytes), format_bytes(left_bytes),
                  in_budget_bytes <= available_bytes ? fmt::format("the budget of {}", format_bytes(budget_bytes))
                                                     : "the machine's memory"));
}

Result<EngineContext> make_context(const MappedModel& mapped, const Decision& decision, bool gated) {
  const LoadRequest& request = mapped.request;
  const ContextShape& shape = decision.context;
  ASSIGN_OR_RETURN(const uint64_t need_bytes, context_need_bytes(request, decision.devices, shape, shape.n_ctx));
  if (const auto room = check_memory_left(request.budget_bytes, need_bytes); !room)
    return error(Code::kOutOfBudget,
                 fmt::format("no room for a context of {} tokens: {}; raise --ram or lower --context", shape.n_ctx,
                             room.error().message()));
  EngineContext context;
  context.abort = std::make_unique<std::atomic<bool>>(false);
  if (gated) {
    context.gate = std::make_unique<Gate>(request.gguf, *mapped.index);
    context.gate->set_abort_flag(context.abort.get());
  }
  RETURN_IF_ERROR(make_llama_context(context, mapped, decision, shape));
  return context;
}

Result<void> remake_context(EngineContext& context, const MappedModel& mapped, const Decision& decision,
                            uint32_t n_ctx) {
  ContextShape shape = decision.context;  // what was made may have been bounded by its own length
  shape.n_ctx = n_ctx;
  context.llama.reset();  // first: both together may be more than there is room for
  return make_llama_context(context, mapped, decision, shape);
}

uint64_t adapter_growth_bytes(const LoadRequest& request, const llama_context* context) {
  if (request.adapters.files.empty()) return 0;
  NeedOptions options{
      .n_ctx = llama_n_ctx(context), .n_ubatch = llama_n_ubatch(context), .cache = request.options.cache};
  const auto without = model_need(request.gguf, options);
  options.adapter_bytes = request.adapters.bytes();
  const auto with = model_need(request.gguf, options);
  return with && without ? with->compute_bytes - without->compute_bytes : 0;
}

}  // namespace spillway
