// SPDX-License-Identifier: MIT
#include "cli/adapter_options.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "model/adapter_file.h"

namespace spillway {

Result<LoraAdapter> parse_adapter(const std::string& text) {
  std::error_code ec;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || std::filesystem::exists(text, ec)) return LoraAdapter{.path = text};
  LoraAdapter adapter{.path = text.substr(0, colon)};
  const std::string scale = text.substr(colon + 1);
  if (!CLI::detail::lexical_cast(scale, adapter.scale) || !std::isfinite(adapter.scale))
    return error(Code::kInvalidArgument,
                 fmt::format("'{}': the scale behind the colon is no number; write FILE or FILE:0.5", text));
  return adapter;
}

void declare_adapter_option(CLI::App& app, std::vector<LoraAdapter>& adapters, const std::string& group) {
  const auto add = [&adapters](const std::vector<std::string>& texts) {
    adapters.clear();
    for (const std::string& text : texts) {
      auto adapter = parse_adapter(text);
      if (!adapter) throw CLI::ValidationError("--lora", adapter.error().message());
      adapters.push_back(std::move(*adapter));
    }
  };
  CLI::Option* option = app.add_option_function<std::vector<std::string>>(
                               "--lora", add, "LoRA adapter (GGUF) to add; may be repeated [none, scale 1]")
                            ->type_name("FILE[:SCALE]")
                            ->take_all()
                            ->allow_extra_args(false);
  if (!group.empty()) option->group(group);
}

void take_own_adapters(const NamedModel& model, std::vector<LoraAdapter>& adapters) {
  if (!adapters.empty() || !model.extras) return;
  for (const std::string& path : model.extras->adapter_paths) adapters.push_back({.path = path});
}

Result<uint64_t> adapter_bytes(const std::vector<LoraAdapter>& adapters, const GgufModel& model) {
  RETURN_IF_ERROR(check_adapter_count(adapters.size()));
  uint64_t bytes = 0;
  for (const LoraAdapter& adapter : adapters) {
    ASSIGN_OR_RETURN(const AdapterFile file, open_adapter_file(adapter.path, model));
    bytes += file.bytes;
  }
  return bytes;
}

}  // namespace spillway
