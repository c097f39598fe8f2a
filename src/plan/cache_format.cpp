// SPDX-License-Identifier: MIT
#include "plan/cache_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "model/ggml_log.h"

namespace spillway {
namespace {

struct BlockType {
  std::string_view name;
  uint64_t values, bytes;
};
constexpr std::array<BlockType, kCacheTypeNames.size()> kBlocks = {{{"f32", 1, 4},
                                                                    {"f16", 1, 2},
                                                                    {"bf16", 1, 2},
                                                                    {"q8_0", 32, 34},
                                                                    {"q4_0", 32, 18},
                                                                    {"q4_1", 32, 20},
                                                                    {"iq4_nl", 32, 18},
                                                                    {"q5_0", 32, 22},
                                                                    {"q5_1", 32, 24}}};

const BlockType* block_of(std::string_view type) {
  const auto found = std::find_if(kBlocks.begin(), kBlocks.end(), [&](const BlockType& b) { return b.name == type; });
  return found == kBlocks.end() ? nullptr : &*found;
}

Result<const BlockType*> known_block(const char* of, const std::string& type) {
  const BlockType* block = block_of(type);
  if (block != nullptr) return block;
  std::string names;
  for (const std::string_view name : kCacheTypeNames) names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  return error(Code::kInvalidArgument,
               fmt::format("'{}' is no type for the {} of a KV cache; there are {}", one_line(type), of, names));
}

// Widths of one head in all layers, by the metadata: windowed layers may have their own.
std::vector<int64_t> head_widths(const GgufModel& model, const char* what) {
  const int64_t n_head = model.number_of_layer("attention.head_count", 0, 0);
  const int64_t even = n_head > 0 ? static_cast<int64_t>(model.n_embd) / n_head : 0;
  const int64_t width = model.number(fmt::format("attention.{}_length", what), even);
  return {width, model.number(fmt::format("attention.{}_length_swa", what), width)};
}

Result<void> check_heads(const GgufModel& model, const char* what, const char* option, const std::string& type) {
  const auto block = static_cast<int64_t>(block_of(type)->values);
  for (const int64_t width : head_widths(model, what))
    if (width % block != 0)
      return error(Code::kInvalidArgument,
                   fmt::format("{} {} is not possible for this model: its heads have {}s of {} values, and {} takes "
                               "them {} at a time; f16, bf16 and f32 are possible",
                               option, type, what, width, type, block));
  return {};
}

}  // namespace

uint64_t cache_row_bytes(std::string_view type, uint64_t values) {
  const BlockType* block = block_of(type);
  return block == nullptr ? 0 : (values + block->values - 1) / block->values * block->bytes;
}

Result<void> check_cache_format(const GgufModel& model, const CacheFormat& format) {
  ASSIGN_OR_RETURN(const BlockType* k, known_block("keys", format.type_k));
  ASSIGN_OR_RETURN(const BlockType* v, known_block("values", format.type_v));
  (void)k;
  // One vector is kept of a token, from which keys and values are both made.
  const bool is_latent =
      model.number("attention.key_length_mla", 0) > 0 && model.number("attention.value_length_mla", 0) > 0;
  if ((is_latent || model.architecture == "deepseek4") && format.type_k != format.type_v)
    return error(
        Code::kInvalidArgument,
        fmt::format("this model keeps keys and values in one vector, so they have one type: give --cache-type-k "
                    "and --cache-type-v the same, not {} and {}",
                    format.type_k, format.type_v));
  if (v->values > 1 && format.flash == FlashAttention::kOff)
    return error(
        Code::kInvalidArgument,
        fmt::format("values of type {} need flash attention, which is off; f16, bf16 and f32 do not", format.type_v));
  if (v->values > 1 && model.architecture == "grok")
    return error(Code::kInvalidArgument,
                 fmt::format("values of type {} need flash attention, which this model cannot be computed with; "
                             "--cache-type-v f16, bf16 and f32 do not",
                             format.type_v));
  RETURN_IF_ERROR(check_heads(model, "key", "--cache-type-k", format.type_k));
  return check_heads(model, "value", "--cache-type-v", format.type_v);
}

CacheFormat nearest_cache_format(const GgufModel& model, const CacheFormat& preferred) {
  return check_cache_format(model, preferred) ? preferred : CacheFormat{.flash = preferred.flash};
}

std::string cache_format_text(const CacheFormat& format) {
  return format.type_k == format.type_v ? format.type_k
                                        : fmt::format("{} keys, {} values", format.type_k, format.type_v);
}

std::string cache_format_key(const CacheFormat& format) {
  return fmt::format("k {} v {} flash {}", format.type_k, format.type_v,
                     kFlashAttentionNames[static_cast<size_t>(format.flash)]);
}

}  // namespace spillway
