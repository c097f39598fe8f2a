// SPDX-License-Identifier: MIT
#include "cli/cache_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

namespace spillway {
namespace {

// CLI11's own validators put themselves into the help.
CLI::Validator one_of(std::span<const std::string_view> names) {
  const auto check = [names](const std::string& text) {
    if (std::find(names.begin(), names.end(), text) != names.end()) return std::string();
    return fmt::format("'{}' is none of {}", text, fmt::join(names, ", "));
  };
  return {check, ""};
}

}  // namespace

void declare_cache_options(CLI::App& app, CacheFormat& format, const std::string& group) {
  const auto declare = [&](const std::string& name, std::string& type, const std::string& what) {
    CLI::Option* option =
        app.add_option(name, type, what)->check(one_of(kCacheTypeNames))->type_name("TYPE")->capture_default_str();
    if (!group.empty()) option->group(group);
  };
  declare("--cache-type-k", format.type_k, "Number format of the KV cache's keys: f32, f16, bf16, q8_0, q5_1, ...");
  declare("--cache-type-v", format.type_v, "Number format of its values");
  const auto set_flash = [&format](const std::string& name) {
    for (size_t i = 0; i < kFlashAttentionNames.size(); ++i)
      if (name == kFlashAttentionNames[i]) format.flash = static_cast<FlashAttention>(i);
  };
  CLI::Option* flash =
      app.add_option_function<std::string>("--flash-attn", set_flash, "Attention by the fused kernel [auto]")
          ->check(one_of(kFlashAttentionNames))
          ->type_name("auto|on|off");
  if (!group.empty()) flash->group(group);
}

}  // namespace spillway
