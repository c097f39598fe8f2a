// SPDX-License-Identifier: MIT
#include "serve/anthropic_models.h"

#include <algorithm>
#include <charconv>

namespace spillway {
namespace {

constexpr size_t kLimit = 20, kLimitMax = 1000;

Json supported(bool yes) { return {{"supported", yes}}; }

Json json_of_capabilities(const ModelEntry& entry) {
  const auto can = [&](const char* what) {
    return std::find(entry.capabilities.begin(), entry.capabilities.end(), what) != entry.capabilities.end();
  };
  const bool thinks = can("thinking");
  return {
      {"batch", supported(false)},
      {"citations", supported(false)},
      {"code_execution", supported(false)},
      {"compaction", nullptr},
      {"context_management",
       {{"supported", true},
        {"clear_thinking_20251015", supported(true)},
        {"clear_tool_uses_20250919", supported(false)},
        {"compact_20260112", supported(false)}}},
      {"effort",
       {{"supported", thinks},
        {"low", supported(thinks)},
        {"medium", supported(thinks)},
        {"high", supported(thinks)},
        {"xhigh", supported(thinks)},
        {"max", supported(thinks)}}},
      {"image_input", supported(can("vision"))},
      {"pdf_input", supported(false)},
      {"server_tools", {{"supported", false}, {"code_execution", supported(false)}, {"web_search", supported(false)}}},
      {"structured_outputs", supported(true)},
      {"thinking",
       {{"supported", thinks},
        {"types",
         {{"adaptive", supported(thinks)},
          {"between_tools", supported(false)},
          {"disabled", supported(true)},
          {"enabled", supported(thinks)}}}}}};
}

}  // namespace

Json json_of_anthropic_model(const ModelEntry& entry) {
  const uint64_t n_context = entry.details.context_length;
  return {{"type", "model"},
          {"id", entry.name.shown()},
          {"display_name", entry.name.shown()},
          {"created_at", rfc3339_ns(entry.modified_ns)},
          {"max_input_tokens", n_context > 0 ? Json(n_context) : Json(nullptr)},
          {"max_tokens", n_context > 0 ? Json(n_context) : Json(nullptr)},
          {"capabilities", json_of_capabilities(entry)},
          {"lifecycle", "active"},
          {"deprecated_at", nullptr},
          {"retires_at", nullptr},
          {"line", nullptr}};
}

Result<Json> anthropic_model_page(const std::vector<ModelEntry>& entries,
                                  const std::map<std::string, std::string>& query) {
  const auto asked = [&](const char* name) {
    const auto found = query.find(name);
    return found == query.end() ? std::string() : found->second;
  };
  size_t limit = kLimit;
  if (const std::string text = asked("limit"); !text.empty()) {
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (problem != std::errc() || end != text.data() + text.size() || limit < 1 || limit > kLimitMax)
      return invalid("limit: must be between 1 and 1000");
  }
  const auto place_of = [&](const std::string& id) {
    return std::find_if(entries.begin(), entries.end(), [&](const ModelEntry& e) { return e.name.shown() == id; });
  };
  auto begin = entries.begin(), end = entries.end();
  const std::string after = asked("after_id"), before = asked("before_id");
  if (!after.empty() && !before.empty()) return invalid("after_id, before_id: only one of them may be given");
  if (!after.empty()) {
    begin = place_of(after);
    if (begin == entries.end()) return invalid("after_id: there is no model of this name");
    ++begin;
  }
  bool has_more = false;
  if (!before.empty()) {
    end = place_of(before);
    if (end == entries.end()) return invalid("before_id: there is no model of this name");
    const auto count = static_cast<size_t>(end - begin);
    has_more = count > limit;
    if (has_more) begin = end - static_cast<std::ptrdiff_t>(limit);
  } else {
    has_more = static_cast<size_t>(end - begin) > limit;
    if (has_more) end = begin + static_cast<std::ptrdiff_t>(limit);
  }
  Json data = Json::array();
  for (auto entry = begin; entry != end; ++entry) data.push_back(json_of_anthropic_model(*entry));
  return Json{{"data", data},
              {"has_more", has_more},
              {"first_id", data.empty() ? Json(nullptr) : data.front()["id"]},
              {"last_id", data.empty() ? Json(nullptr) : data.back()["id"]}};
}

}  // namespace spillway
