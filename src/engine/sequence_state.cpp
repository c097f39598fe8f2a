// SPDX-License-Identifier: MIT
// What sequences of the engine's context hold: asked of libllama each time, never remembered.
#include <fmt/format.h>

#include <algorithm>

#include "engine/llama_engine.h"
#include "model/ggml_log.h"

namespace spillway {
namespace {

constexpr llama_state_seq_flags flags_of(StatePart part) {
  return part == StatePart::kCheckpoint ? LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY : LLAMA_STATE_SEQ_FLAGS_NONE;
}

}  // namespace

HeldTokens LlamaEngine::held(int32_t seq) const {
  llama_memory_t memory = llama_get_memory(context_.llama.get());
  if (memory == nullptr) return {};
  const llama_pos first = llama_memory_seq_pos_min(memory, seq), last = llama_memory_seq_pos_max(memory, seq);
  if (last < 0 || first < 0) return {};
  const auto image = image_ends_.find(seq);
  const bool ends_with_image = image != image_ends_.end() && image->second.last_pos == last;
  return {.n = ends_with_image ? image->second.n : static_cast<size_t>(last) + 1,
          .first = static_cast<size_t>(first),
          .window = info_.window,
          .whole_only = info_.is_recurrent};
}

size_t LlamaEngine::cut(int32_t seq, size_t n_tokens) {
  llama_memory_t memory = llama_get_memory(context_.llama.get());
  if (memory == nullptr) return 0;
  const HeldTokens before = held(seq);
  const size_t n = before.cut_to(n_tokens);
  if (const auto image = image_ends_.find(seq); image != image_ends_.end() && n < image->second.n)
    image_ends_.erase(image);
  // Layers that keep everything may hold tokens that others have lost: those go too.
  if (n > 0 && llama_memory_seq_rm(memory, seq, static_cast<llama_pos>(n), -1) && held(seq).n == n) return n;
  image_ends_.erase(seq);
  llama_memory_seq_rm(memory, seq, -1, -1);
  return 0;
}

size_t LlamaEngine::state_bytes(int32_t seq, StatePart part) {
  return llama_state_seq_get_size_ext(context_.llama.get(), seq, flags_of(part));
}

std::string LlamaEngine::save_state(int32_t seq, StatePart part) {
  std::string state(state_bytes(seq, part), '\0');
  state.resize(llama_state_seq_get_data_ext(context_.llama.get(), reinterpret_cast<uint8_t*>(state.data()),
                                            state.size(), seq, flags_of(part)));
  return check_usable() ? state : std::string();
}

Result<void> LlamaEngine::save_state_file(int32_t seq, const std::string& path, std::span<const TokenId> tokens) {
  GgmlErrorCapture log;
  try {  // libllama throws where the disk is full
    if (llama_state_seq_save_file(context_.llama.get(), path.c_str(), seq, tokens.data(), tokens.size()) > 0)
      return check_usable();
  } catch (const std::exception& e) {
    return error(Code::kIo, fmt::format("{}: the KV cache could not be written: {}", path, e.what()));
  }
  return error(Code::kIo, fmt::format("{}: the KV cache could not be written{}{}", path,
                                      log.first_error().empty() ? "" : ": ", log.first_error()));
}

Result<void> LlamaEngine::restore_state(int32_t seq, std::string_view state, StatePart part, size_t n_tokens) {
  GgmlErrorCapture log;
  image_ends_.erase(seq);
  const auto* bytes = reinterpret_cast<const uint8_t*>(state.data());
  if (part == StatePart::kWhole) cut(seq, 0);
  if (!state.empty() && n_tokens > 0 &&
      llama_state_seq_set_data_ext(context_.llama.get(), bytes, state.size(), seq, flags_of(part)) > 0 &&
      llama_memory_seq_rm(llama_get_memory(context_.llama.get()), seq, static_cast<llama_pos>(n_tokens), -1) &&
      held(seq).n == n_tokens)
    return check_usable();
  cut(seq, 0);
  return error(Code::kCorrupt, "a saved KV cache does not fit this context");
}

Result<void> LlamaEngine::restore_state_file(int32_t seq, const std::string& path, size_t n_tokens) {
  GgmlErrorCapture log;
  cut(seq, 0);
  std::vector<TokenId> tokens(n_tokens);
  size_t n_read = 0;
  try {
    if (llama_state_seq_load_file(context_.llama.get(), path.c_str(), seq, tokens.data(), tokens.size(), &n_read) > 0 &&
        n_read == n_tokens && held(seq).n == n_tokens)
      return check_usable();
  } catch (const std::exception&) {  // the message below says all that helps
  }
  cut(seq, 0);
  return error(Code::kCorrupt, fmt::format("{}: the saved KV cache does not fit this context", path));
}

}  // namespace spillway
