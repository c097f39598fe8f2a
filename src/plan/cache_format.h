// SPDX-License-Identifier: MIT
// In which number formats a context keeps keys and values, by llama.cpp's names, and which models take which. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/gguf_model.h"

namespace spillway {

enum class FlashAttention { kAuto, kOn, kOff };  // kAuto: wherever libllama can
inline constexpr std::array kFlashAttentionNames = {std::string_view("auto"), std::string_view("on"),
                                                    std::string_view("off")};

struct CacheFormat {
  std::string type_k = "f16", type_v = "f16";
  FlashAttention flash = FlashAttention::kAuto;

  friend bool operator==(const CacheFormat&, const CacheFormat&) = default;
};

inline constexpr std::array<std::string_view, 9> kCacheTypeNames = {"f32",  "f16",    "bf16", "q8_0", "q4_0",
                                                                    "q4_1", "iq4_nl", "q5_0", "q5_1"};

// Bytes of `values` values; 0 for a type that no cache takes.
uint64_t cache_row_bytes(std::string_view type, uint64_t values);

// Refuses what libllama would refuse once the model is loaded, and what it would take and compute wrongly.
//   InvalidArgument   an unknown type; quantized values without flash attention; a model that wants both types alike,
//                     or whose heads are no whole number of a type's blocks
Result<void> check_cache_format(const GgufModel& model, const CacheFormat& format);

// `preferred`, or f16 for a model that does not take it.
CacheFormat nearest_cache_format(const GgufModel& model, const CacheFormat& preferred);

// "q8_0 keys, f16 values", or "f16" where both are.
std::string cache_format_text(const CacheFormat& format);

// Tells saved sequences apart that mean the same tokens: "k q8_0 v q8_0 flash auto".
std::string cache_format_key(const CacheFormat& format);

}  // namespace spillway
