// SPDX-License-Identifier: MIT
// What the engine says about a model and its context.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "backend/llama_call.h"
#include "base/hash.h"
#include "engine/load_context.h"

namespace spillway {
namespace {

// Positions that a model has a row each for; libllama ends the process at others.
uint32_t positions_of(const GgufModel& model) {
  for (const TensorInfo& tensor : model.tensors)
    if (tensor.name == "position_embd.weight")
      return static_cast<uint32_t>(std::min<uint64_t>(tensor.shape[1], INT32_MAX));
  return INT32_MAX;
}

// A file of the store may be one that its user goes on writing to (`create` links): its digest is of what it was.
std::string files_key(const GgufModel& gguf) {
  Fnv1a hash;
  for (const auto& file : gguf.files) {
    const std::string key = identity_key(file->identity());
    hash.add(key.data(), key.size());
  }
  return fmt::format("{:016x}", hash.value());
}

// Kernels and devices round in ways of their own: what some have computed is not what others would.
std::string computers_key(const MappedModel& mapped, const DeviceOptions& devices) {
  std::string key = kernels_name(mapped.kernels);
  if (!devices.any()) return key;
  // Which layer is computed where, and what of it: a plan chooses that by the memory that is free at the load.
  key += fmt::format(" {} layers of {} without experts of {}{} cache {} on", devices.n_gpu_layers,
                     fmt::join(mapped.layer_share, ","), fmt::join(devices.host_expert_layers, ","),
                     devices.op_offload ? " offloading" : "", devices.expert_cache_bytes);
  for (const auto* names : {&devices.workers, &devices.names})
    for (const std::string& name : *names) key += " " + name;
  return key;
}

std::string state_key(const MappedModel& mapped, const DeviceOptions& devices) {
  const LoadRequest& request = mapped.request;
  return fmt::format("libllama {} {}{} {} {}", llama_version(), cache_format_key(request.options.cache),
                     request.adapters.key(), files_key(request.gguf), computers_key(mapped, devices));
}

// libllama turns keys by the factors for long contexts wherever the context is one, however short the text (longrope).
std::string context_key(const GgufModel& gguf, uint32_t n_ctx_seq) {
  const bool has_long = std::any_of(gguf.tensors.begin(), gguf.tensors.end(), [](const TensorInfo& tensor) {
    return tensor.name.find("rope_factors_long") != std::string::npos;
  });
  const int64_t n_ctx_short =
      gguf.number("rope.scaling.original_context_length", static_cast<int64_t>(gguf.n_ctx_train));
  return has_long && n_ctx_seq > n_ctx_short ? "long" : "";
}

void describe_chat(const llama_model* model, ModelInfo& info) {
  if (!info.has_tokenizer) return;
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const auto text = [&](llama_token id) -> std::string {
    const char* piece = id >= 0 ? llama_vocab_get_text(vocab, id) : nullptr;
    return piece != nullptr ? piece : "";
  };
  const char* own = llama_model_chat_template(model, nullptr);
  info.chat_template = own != nullptr ? own : "";
  info.bos_token = text(llama_vocab_bos(vocab));
  info.eos_token = text(llama_vocab_eos(vocab));
  info.adds_bos = llama_vocab_get_add_bos(vocab);
  const auto type = llama_vocab_type(vocab);
  if (type != LLAMA_VOCAB_TYPE_SPM && type != LLAMA_VOCAB_TYPE_BPE) return;
  for (llama_token id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
    char piece[1];
    const int32_t bytes = std::abs(llama_token_to_piece(vocab, id, piece, sizeof piece, 0, true));  // negative: no room
    info.token_bytes_max = std::max(info.token_bytes_max, static_cast<size_t>(bytes));
  }
}

// A head that a file has is as wide as libllama's labels, or the load has failed. Without one, the scores are taken
// from the embedding, and libllama ends the process where there are more of them.
Result<void> check_scores(const LoadRequest& request, const ModelInfo& info) {
  const std::vector<TensorInfo>& tensors = request.gguf.tensors;
  const bool has_head = std::any_of(tensors.begin(), tensors.end(),
                                    [](const TensorInfo& tensor) { return tensor.name == "cls.output.weight"; });
  if (has_head || info.n_scores <= info.n_embd) return {};
  return error(Code::kUnsupported, fmt::format("{}: names {} classes and has no head that tells them apart",
                                               request.options.path, info.n_scores));
}

ModelInfo describe_model(const MappedModel& mapped, const Decision& decision, const EngineContext& context) {
  const GgufModel& gguf = mapped.request.gguf;
  const llama_model* model = mapped.llama.get();
  const Projector* projector = mapped.projector.get();
  char description[256] = "";
  llama_model_desc(model, description, sizeof description);
  ModelInfo info{.path = mapped.request.options.path,
                 .name = gguf.name,
                 .architecture = gguf.architecture,
                 .description = description,
                 .n_params = gguf.n_params,
                 .weight_bytes = gguf.weight_bytes(),
                 .n_layer = gguf.n_layer,
                 .n_expert = gguf.n_expert,
                 .n_expert_used = gguf.n_expert_used,
                 .n_ctx_train = gguf.n_ctx_train,
                 .n_ctx_default = decision.n_ctx_default,
                 .n_ctx_why = decision.n_ctx_why,
                 .n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model)),
                 .n_embd = static_cast<uint64_t>(llama_model_n_embd_out(model)),
                 .state_key = state_key(mapped, decision.devices),
                 .has_tokenizer = gguf.has_tokenizer,
                 .sees_images = projector != nullptr && gguf.has_tokenizer,
                 .image_positions_differ = projector != nullptr && projector->has_positions_in_two_dimensions(),
                 .has_encoder = llama_model_has_encoder(model),
                 .has_decoder = llama_model_has_decoder(model) && llama_get_memory(context.llama.get()) != nullptr};
  if (llama_pooling_type(context.llama.get()) == LLAMA_POOLING_TYPE_RANK) info.n_scores = llama_model_n_cls_out(model);
  if (info.has_decoder) {
    info.window = static_cast<uint32_t>(std::max(llama_model_n_swa(model), 0));
    info.keeps_nothing_else = llama_model_is_recurrent(model);
    info.is_recurrent = info.keeps_nothing_else || llama_model_is_hybrid(model);
  }
  describe_context(mapped, context, info);
  describe_chat(model, info);
  return info;
}

}  // namespace

Result<ModelInfo> describe(const MappedModel& mapped, const Decision& decision, const EngineContext& context) {
  auto info = call_llama([&] { return describe_model(mapped, decision, context); });
  if (!info) return Failure(info.error().with_context(mapped.request.options.path));
  RETURN_IF_ERROR(check_scores(mapped.request, *info));
  return *std::move(info);
}

void describe_context(const MappedModel& mapped, const EngineContext& context, ModelInfo& info) {
  const llama_context* llama = context.llama.get();
  const bool shared = mapped.request.options.shared_context;
  info.n_ctx = std::min(shared ? llama_n_ctx(llama) : llama_n_ctx_seq(llama), positions_of(mapped.request.gguf));
  info.n_ubatch = llama_n_ubatch(llama);
  info.context_key = context_key(mapped.request.gguf, llama_n_ctx_seq(llama));
  if (!info.has_decoder) return;
  // A window of the whole context never slides.
  info.needs_checkpoints = info.is_recurrent || (info.window > 0 && info.window < info.n_ctx);
}

}  // namespace spillway
