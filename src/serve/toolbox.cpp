// SPDX-License-Identifier: MIT
#include "serve/toolbox.h"

#include <fmt/format.h>

#include <algorithm>

#include "chat/conversation_json.h"
#include "chat/json_text.h"
#include "serve/json_input.h"

namespace spillway {

Result<void> Toolbox::add(Tool tool, bool waits) {
  if (tool.name.size() > kToolNameBytesMax)
    return invalid(fmt::format("tools: a name has {} bytes, and {} are the most", tool.name.size(), kToolNameBytesMax));
  if (entries_.size() >= kToolsMax) return invalid(fmt::format("tools: there are more than {}", kToolsMax));
  if (find(tool.name) != nullptr)
    return Failure(Status(Code::kInvalidArgument, fmt::format("tools: two are named '{}'", tool.name.substr(0, 80)))
                       .with_reason("tool_name_conflict"));
  if (!is_json_object(tool.parameters))
    return invalid(fmt::format("tools: the parameters of '{}' must be a JSON object", tool.name.substr(0, 80)));
  tool.in_prompt = !waits;
  places_.emplace(tool.name, entries_.size());
  entries_.push_back({std::move(tool), waits});
  return {};
}

std::string Toolbox::enable(std::string_view name) {
  Entry* entry = find(name);
  if (entry == nullptr) return fmt::format("The tool {} is not available.", name.substr(0, 80));
  const bool shown = entry->tool.in_prompt || !entry->waits;
  entry->waits = false;
  entry->tool.callable = true;
  if (shown) return fmt::format("The tool {} is available.", name);
  return fmt::format("The tool {} is available from now on:\n{}", name, tool_json(entry->tool));
}

std::string Toolbox::disable(std::string_view name) {
  if (Entry* entry = find(name); entry != nullptr) entry->tool.callable = false;
  return fmt::format("The tool {} is not available any more.", name.substr(0, 80));
}

void Toolbox::list(std::string_view name) {
  Entry* entry = find(name);
  if (entry == nullptr || !entry->waits) return;
  entry->waits = false;
  entry->tool.in_prompt = entry->tool.callable = true;
}

void Toolbox::list_all() {
  for (Entry& entry : entries_) list(entry.tool.name);
}

bool Toolbox::any_callable() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return !entry.waits && entry.tool.callable; });
}

std::vector<Tool> Toolbox::take() {
  std::vector<Tool> tools;
  for (Entry& entry : entries_)
    if (!entry.waits) tools.push_back(std::move(entry.tool));
  entries_.clear();
  places_.clear();
  return tools;
}

Toolbox::Entry* Toolbox::find(std::string_view name) {
  const auto found = places_.find(std::string(name));
  return found == places_.end() ? nullptr : &entries_[found->second];
}

}  // namespace spillway
