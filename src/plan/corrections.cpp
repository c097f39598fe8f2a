// SPDX-License-Identifier: MIT
#include "plan/corrections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/hash.h"

namespace spillway {
namespace {

constexpr int kFormat = 1;
constexpr size_t kKeptMax = 200;
constexpr double kMemoryTolerance = 0.25;

bool same_memory(uint64_t a, uint64_t b) {
  const auto x = static_cast<double>(a), y = static_cast<double>(b);
  return std::abs(x - y) <= kMemoryTolerance * std::max(x, y);
}

bool replaces(const Correction& one, const Correction& other) {
  return one.model == other.model && one.machine == other.machine && one.mode == other.mode &&
         same_memory(one.memory_bytes, other.memory_bytes);
}

bool sensible(double tok_per_s) { return std::isfinite(tok_per_s) && tok_per_s > 0 && tok_per_s < 1e9; }

}  // namespace

std::string model_key(const GgufModel& model) {
  Fnv1a hash;
  for (const TensorInfo& tensor : model.tensors) {
    hash.add(tensor.name.data(), tensor.name.size());
    hash.add(&tensor.range, sizeof tensor.range);
  }
  return fmt::format("{} {} {:016x}", model.architecture, model.weight_bytes(), hash.value());
}

std::string corrected_mode(const std::string& name, Kernels kernels) {
  return kernels == Kernels::kRepacked ? name + " repacked" : name;
}

bool contradicts(double predicted_tok_per_s, double measured_tok_per_s) {
  if (!sensible(predicted_tok_per_s) || !sensible(measured_tok_per_s)) return false;
  return std::abs(measured_tok_per_s / predicted_tok_per_s - 1) > kContradiction;
}

bool cache_exceeds_budget(uint64_t weight_bytes, uint64_t budget_bytes, uint64_t available_bytes) {
  return weight_bytes > budget_bytes && available_bytes > budget_bytes && !same_memory(budget_bytes, available_bytes);
}

std::optional<Correction> find_correction(const std::vector<Correction>& all, const std::string& model,
                                          const std::string& machine, const std::string& mode, uint64_t memory_bytes) {
  std::optional<Correction> found;
  for (const Correction& one : all)
    if (one.model == model && one.machine == machine && one.mode == mode &&
        same_memory(one.memory_bytes, memory_bytes) && (!found || one.unix_s > found->unix_s))
      found = one;
  return found;
}

std::vector<Correction> remember(std::vector<Correction> all, const Correction& one) {
  std::erase_if(all, [&](const Correction& other) { return replaces(one, other); });
  if (contradicts(one.predicted_tok_per_s, one.measured_tok_per_s)) all.insert(all.begin(), one);
  if (all.size() > kKeptMax) all.resize(kKeptMax);
  return all;
}

std::string encode_corrections(const std::vector<Correction>& all) {
  nlohmann::json list = nlohmann::json::array();
  for (const Correction& one : all)
    list.push_back({{"model", one.model},
                    {"machine", one.machine},
                    {"mode", one.mode},
                    {"memory_bytes", one.memory_bytes},
                    {"predicted_tok_per_s", one.predicted_tok_per_s},
                    {"measured_tok_per_s", one.measured_tok_per_s},
                    {"unix_s", one.unix_s}});
  const nlohmann::json json = {{"format", kFormat}, {"corrections", list}};
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<std::vector<Correction>> decode_corrections(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto damaged = [] { return error(Code::kCorrupt, "the file of corrections is damaged"); };
  if (!json.is_object() || json.value("format", nlohmann::json()) != kFormat || !json.contains("corrections") ||
      !json["corrections"].is_array())
    return damaged();
  std::vector<Correction> all;
  for (const auto& item : json["corrections"]) {
    if (!item.is_object()) return damaged();
    for (const char* key : {"model", "machine", "mode"})
      if (!item.contains(key) || !item[key].is_string()) return damaged();
    for (const char* key : {"predicted_tok_per_s", "measured_tok_per_s"})
      if (!item.contains(key) || !item[key].is_number()) return damaged();
    if (!item.contains("memory_bytes") || !item["memory_bytes"].is_number_unsigned() || !item.contains("unix_s") ||
        !item["unix_s"].is_number_integer())
      return damaged();
    Correction one{item["model"],
                   item["machine"],
                   item["mode"],
                   item["memory_bytes"],
                   item["predicted_tok_per_s"],
                   item["measured_tok_per_s"],
                   item["unix_s"]};
    if (!sensible(one.predicted_tok_per_s) || !sensible(one.measured_tok_per_s)) return damaged();
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace spillway
