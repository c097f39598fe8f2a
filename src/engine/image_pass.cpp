// SPDX-License-Identifier: MIT
// Images in the engine's context: the projector makes embeddings of them, and libllama computes those as it does
// tokens. libmtmd's own helper gives them their positions and the mask, as llama.cpp's tools have it do.
#include <fmt/format.h>
#include <mtmd-helper.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "base/saturating_sub.h"
#include "engine/llama_engine.h"
#include "model/ggml_log.h"
#include "os/machine.h"

namespace spillway {

Result<ImagePrompt> LlamaEngine::inspect_image(const std::shared_ptr<const std::string>& file) const {
  if (!info_.sees_images) return Engine::inspect_image(file);
  return model_->mapped->projector->inspect_image(file);
}

Result<void> LlamaEngine::check_image(const PromptImage& image, int32_t seq, int32_t pos) const {
  if (!info_.sees_images) return error(Code::kUnsupported, "this model sees no images");
  RETURN_IF_ERROR(check_usable());
  CHECK(image.file != nullptr && image.n_positions > 0);
  if (pos < 0 || static_cast<uint64_t>(pos) + std::max(image.n_positions, image.n_tokens) > info_.n_ctx)
    return error(Code::kInvalidArgument,
                 fmt::format("the image takes {} tokens, and {} of the context of {} are left; raise --context",
                             image.n_tokens, saturating_sub(info_.n_ctx, std::max(pos, 0)), info_.n_ctx));
  if (seq < 0 || static_cast<uint32_t>(seq) >= options().n_seq_max)
    return error(Code::kInvalidArgument, fmt::format("sequence {} of {}", seq, options().n_seq_max));
  const size_t n_pass_max = std::min(pass_tokens_max(), tokens_at_once());
  if (model_->mapped->projector->sees_whole_images() && image.n_tokens > n_pass_max)
    return error(
        Code::kOutOfBudget,
        fmt::format(
            "this model computes an image in one pass of {} tokens, and there is room for {}; raise {}", image.n_tokens,
            n_pass_max,
            context_.shape.n_ubatch < image.n_tokens ? fmt::format("--ubatch to {}", image.n_tokens) : "--ram"));
  return {};
}

// An image that is larger than the projector was made ready for: its buffers grow, and stay so.
Result<void> LlamaEngine::reserve_for(const PromptImage& image) {
  const uint64_t before_bytes = projector_growth_bytes_, bytes = model_->mapped->projector->growth_bytes(image);
  if (bytes <= before_bytes) return {};
  projector_growth_bytes_ = bytes;
  if (const auto room = reserve(reserved_); !room) {
    projector_growth_bytes_ = before_bytes;
    (void)reserve(reserved_);
    return error(room.error().code(), fmt::format("no room for an image of {} tokens: {}; a smaller one needs less",
                                                  image.n_tokens, room.error().message()));
  }
  return {};
}

Result<void> LlamaEngine::decode_image(const PromptImage& image, int32_t seq, int32_t pos) {
  *context_.abort = false;  // first: weights may take seconds to make room
  RETURN_IF_ERROR(check_image(image, seq, pos));
  if (budget_ != nullptr) RETURN_IF_ERROR(budget_->check());
  RETURN_IF_ERROR(reserve_for(image));
  const auto encoded = model_->mapped->projector->encode(image, *context_.abort);
  if (!encoded) return why_failed(encoded.error());
  image_ends_.erase(seq);
  const size_t n_at_once = std::min<size_t>(tokens_at_once(), image.n_tokens);
  const auto outcome = watched(context_.llama.get(), image.n_tokens, n_at_once,
                               [&] { return decode_encoded(image, *encoded, seq, pos, n_at_once); });
  if (!outcome) {
    cut(seq, static_cast<size_t>(pos));
    return why_failed(outcome.error());
  }
  const size_t end = static_cast<size_t>(pos) + image.n_positions;
  if (model_->mapped->projector->has_positions_in_two_dimensions())
    image_ends_[seq] = {.last_pos = llama_memory_seq_pos_max(llama_get_memory(context_.llama.get()), seq), .n = end};
  return {};
}

// In passes of `n_at_once` tokens: libmtmd calls back between them.
Result<int32_t> LlamaEngine::decode_encoded(const PromptImage& image, const Projector::Encoded& encoded, int32_t seq,
                                            int32_t pos, size_t n_at_once) {
  struct Passes {
    Gate* gate = nullptr;
    size_t n_left = 0, n_at_once = 0;
    uint32_t n_ubatch = 0;
    llama_context* context = nullptr;
  } passes{.gate = context_.gate.get(),
           .n_left = image.n_tokens,
           .n_at_once = n_at_once,
           .n_ubatch = llama_n_ubatch(context_.llama.get()),
           .context = context_.llama.get()};
  // The last pass is for watched() to end, and so is the first one that fails.
  const auto between = [](const mtmd_helper_embd_batch* batch, void* user) -> int32_t {
    auto& all = *static_cast<Passes*>(user);
    llama_synchronize(all.context);
    all.n_left -= std::min<size_t>(all.n_left, static_cast<size_t>(batch->n_tokens));
    if (all.gate == nullptr || all.n_left == 0) return 0;
    if (!all.gate->end_pass()) return 1;
    all.gate->begin_pass(std::min(all.n_left, all.n_at_once), all.n_ubatch);
    return 0;
  };
  llama_pos end = pos;
  try {
    const int32_t outcome = mtmd_helper_decode_image_chunk(model_->mapped->projector->context(), context_.llama.get(),
                                                           encoded.chunk, encoded.embeddings, pos, seq,
                                                           static_cast<int32_t>(n_at_once), &end, between, &passes);
    llama_synchronize(context_.llama.get());
    if (outcome == 0 && end != pos + static_cast<llama_pos>(image.n_positions))
      return error(Code::kInternal, "libmtmd gave the image other positions than it said");
    return outcome;
  } catch (const std::exception& e) {
    llama_set_causal_attn(context_.llama.get(), true);
    return error(Code::kInternal,
                 fmt::format("a device failed ({}); load the model again, or with --gpu-layers 0", one_line(e.what())));
  }
}

}  // namespace spillway
