// SPDX-License-Identifier: MIT
#include "cli/model_table.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/bytes.h"
#include "base/json_writer.h"
#include "base/utf8.h"
#include "serve/chat_form_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kSecond_ns = 1'000'000'000;
constexpr size_t kIdChars = 12, kLicenseLines = 2;

// Columns as wide as their widest cell.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    if (!text.empty()) text += '\n';
    for (size_t i = 0; i < row.size(); ++i)
      text += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
  }
  return text;
}

Json entry_json(const ModelEntry& model) {
  const ModelDetails& details = model.details;
  return {{"name", model.name.shown()},
          {"digest", model.digest},
          {"size_bytes", model.size_bytes},
          {"modified", utc_text(model.modified_ns)},
          {"source", source_name(model.source)},
          {"path", model.path},
          {"format", details.format},
          {"family", details.family},
          {"parameter_size", details.parameter_size},
          {"quantization", details.quantization_level},
          {"context_length", details.context_length},
          {"embedding_length", details.embedding_length},
          {"parent_model", details.parent_model},
          {"capabilities", model.capabilities}};
}

std::string first_lines(const std::string& text, size_t n) {
  size_t end = 0;
  for (size_t i = 0; i < n && end != std::string::npos; ++i) end = text.find('\n', end == 0 ? 0 : end + 1);
  return end == std::string::npos ? text : text.substr(0, end) + "\n...";
}

std::string indented(std::string_view text) {
  std::string out = "  ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

}  // namespace

std::string time_ago(int64_t then_ns, int64_t now_ns) {
  struct Unit {
    int64_t seconds;
    const char* name;
  };
  constexpr std::array<Unit, 6> kUnits = {{{365 * 86400, "year"},
                                           {30 * 86400, "month"},
                                           {7 * 86400, "week"},
                                           {86400, "day"},
                                           {3600, "hour"},
                                           {60, "minute"}}};
  const int64_t seconds = (now_ns - then_ns) / kSecond_ns;
  for (const Unit& unit : kUnits) {
    const int64_t n = seconds / unit.seconds;
    if (n >= 1) return fmt::format("{} {}{} ago", n, unit.name, n > 1 ? "s" : "");
  }
  return "just now";
}

std::string utc_text(int64_t since_1970_ns) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(since_1970_ns / kSecond_ns)));
}

std::string models_table(const std::vector<ModelEntry>& models, int64_t now_ns) {
  std::vector<std::vector<std::string>> rows{{"NAME", "ID", "SIZE", "PARAMS", "QUANT", "MODIFIED", "FROM"}};
  for (const ModelEntry& model : models)
    rows.push_back({model.name.shown(), model.digest.substr(0, kIdChars), format_bytes(model.size_bytes),
                    model.details.parameter_size, model.details.quantization_level, time_ago(model.modified_ns, now_ns),
                    source_name(model.source)});
  return table(rows);
}

std::string models_json(const std::vector<ModelEntry>& models) {
  Json list = Json::array();
  for (const ModelEntry& model : models) list.push_back(entry_json(model));
  return write_json(Json{{"models", list}});
}

std::string description_text(const ModelDescription& model) {
  const ModelEntry& entry = model.entry;
  const auto or_dash = [](uint64_t value) { return value == 0 ? std::string("-") : fmt::format("{}", value); };
  std::string text = table({{"name", entry.name.shown()},
                            {"architecture", entry.details.family},
                            {"parameters", entry.details.parameter_size},
                            {"quantization", entry.details.quantization_level},
                            {"context length", or_dash(entry.details.context_length)},
                            {"embedding length", or_dash(entry.details.embedding_length)},
                            {"capabilities", fmt::format("{}", fmt::join(entry.capabilities, ", "))},
                            {"chats", chat_form_text(model)},
                            {"size", format_bytes(entry.size_bytes)},
                            {"digest", entry.digest},
                            {"from", source_name(entry.source)},
                            {"file", entry.path}});
  const auto section = [&](const char* title, const std::string& content) {
    if (!content.empty()) text += fmt::format("\n\n{}\n{}", title, indented(printable(content)));
  };
  section("adapters", fmt::format("{}", fmt::join(model.extras.adapter_paths, "\n")));
  section("projector", model.extras.projector_path);
  section("parameters", model.parameters_text);
  section("system", model.extras.system);
  for (const std::string& license : model.extras.licenses) section("license", first_lines(license, kLicenseLines));
  if (!model.tensors.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const TensorSummary& tensor : model.tensors)
      rows.push_back({tensor.name, tensor.type, fmt::format("[{}]", fmt::join(tensor.shape, ", "))});
    section("tensors", table(rows));
  }
  return text;
}

std::string description_json(const ModelDescription& model) {
  Json json = entry_json(model.entry);
  json["parameters"] = model.extras.parameters;
  json["template"] = model.extras.template_text;
  json["chat"] = chat_form_text(model);
  json["system"] = model.extras.system;
  json["licenses"] = model.extras.licenses;
  json["messages"] = Json::array();
  for (const ModelMessage& message : model.extras.messages)
    json["messages"].push_back({{"role", message.role}, {"content", message.content}});
  json["model_info"] = model.model_info;
  if (model.projector_info.is_object()) json["projector_info"] = model.projector_info;
  json["modelfile"] = model.modelfile;
  if (!model.tensors.empty()) {
    json["tensors"] = Json::array();
    for (const TensorSummary& tensor : model.tensors)
      json["tensors"].push_back({{"name", tensor.name}, {"type", tensor.type}, {"shape", tensor.shape}});
  }
  return write_json(json);
}

}  // namespace spillway
