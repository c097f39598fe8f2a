// SPDX-License-Identifier: MIT
#include "engine/adapters.h"

#include <fmt/format.h>

#include "backend/llama_call.h"
#include "base/check.h"
#include "engine/adapter_numbers.h"
#include "model/ggml_log.h"

namespace spillway {

uint64_t CheckedAdapters::bytes() const {
  uint64_t sum = 0;
  for (const AdapterFile& file : files) sum += file.bytes;
  return sum;
}

uint64_t CheckedAdapters::graph_bytes() const {
  uint64_t sum = 0;
  for (const AdapterFile& file : files) sum += file.graph_bytes;
  return sum;
}

std::string CheckedAdapters::key() const {
  std::string key;
  for (size_t i = 0; i < files.size(); ++i) key += fmt::format(" lora {} x {}", files[i].identity, scales[i]);
  return key;
}

Result<CheckedAdapters> check_adapters(const std::vector<LoraAdapter>& asked, const GgufModel& model) {
  RETURN_IF_ERROR(check_adapter_count(asked.size()));
  CheckedAdapters checked;
  for (const LoraAdapter& one : asked) {
    ASSIGN_OR_RETURN(AdapterFile file, open_adapter_file(one.path, model));
    checked.files.push_back(std::move(file));
    checked.scales.push_back(one.scale);
  }
  return checked;
}

Result<Adapters> Adapters::load(const CheckedAdapters& checked, llama_model* model) {
  Adapters loaded;
  for (size_t i = 0; i < checked.files.size(); ++i) {
    GgmlErrorCapture log;
    const std::string& path = checked.files[i].path;
    RETURN_IF_ERROR(check_adapter_numbers(path));
    const auto adapter = call_llama([&] { return llama_adapter_lora_init(model, path.c_str()); });
    if (!adapter) return Failure(adapter.error().with_context(path));
    if (*adapter == nullptr)
      return error(Code::kCorrupt, fmt::format("{}: libllama does not take it{}{}", path,
                                               log.first_error().empty() ? "" : ": ", log.first_error()));
    loaded.adapters_.push_back(*adapter);
    loaded.scales_.push_back(checked.scales[i]);
  }
  return loaded;
}

void Adapters::use_in(llama_context* context) const {
  if (adapters_.empty()) return;
  // libllama takes what it does not change.
  auto adapters = adapters_;
  auto scales = scales_;
  CHECK(llama_set_adapters_lora(context, adapters.data(), adapters.size(), scales.data()) == 0);
}

}  // namespace spillway
