// SPDX-License-Identifier: MIT
#include "engine/cache_params.h"

#include <ggml.h>

#include "base/check.h"

namespace spillway {
namespace {

ggml_type type_named(const std::string& name) {
  const auto is_named = [&](int type) {
    const char* its_name = ggml_type_name(static_cast<ggml_type>(type));
    return its_name != nullptr && name == its_name;
  };
  int type = 0;
  while (type < GGML_TYPE_COUNT && !is_named(type)) ++type;
  CHECK(type < GGML_TYPE_COUNT);
  return static_cast<ggml_type>(type);
}

llama_flash_attn_type flash_of(FlashAttention flash) {
  if (flash == FlashAttention::kAuto) return LLAMA_FLASH_ATTN_TYPE_AUTO;
  return flash == FlashAttention::kOn ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
}

}  // namespace

void set_cache_format(const CacheFormat& format, llama_context_params& params) {
  params.type_k = type_named(format.type_k);
  params.type_v = type_named(format.type_v);
  params.flash_attn_type = flash_of(format.flash);
}

}  // namespace spillway
