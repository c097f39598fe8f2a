// SPDX-License-Identifier: MIT
#include "plan/model_facts.h"

#include <algorithm>
#include <map>

#include "layout/layout.h"

namespace spillway {

std::string dominant_type(const GgufModel& model) {
  std::map<std::string, uint64_t> bytes;
  for (const TensorInfo& tensor : model.tensors)
    if (!tensor.unused) bytes[tensor.type] += tensor.range.bytes;
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  return bytes.empty() ? "" : std::max_element(bytes.begin(), bytes.end(), fewer)->first;
}

uint64_t experts_used(const GgufModel& model) { return std::max<uint64_t>(model.n_expert_used, 1); }

bool is_row_table(const GgufModel& model, const TensorInfo& tensor) { return is_row_table(tensor, !model.has_output); }

double active_share(const GgufModel& model, const TensorInfo& tensor) {
  if (tensor.unused || is_row_table(model, tensor)) return 0;
  if (tensor.slices == 1) return 1;
  return static_cast<double>(std::min<uint64_t>(experts_used(model), tensor.slices)) / tensor.slices;
}

uint64_t typical_matrix_bytes(const GgufModel& model) {
  double bytes = 0, count = 0;
  for (const TensorInfo& tensor : model.tensors) {
    if (tensor.shape[1] < 2) continue;  // a vector
    const double share = active_share(model, tensor);
    bytes += static_cast<double>(tensor.range.bytes) * share;
    count += share * tensor.slices;
  }
  return count > 0 ? static_cast<uint64_t>(bytes / count) : 0;
}

uint64_t n_values(const TensorInfo& tensor) {
  uint64_t count = 1;
  for (const uint64_t n : tensor.shape) count *= n;
  return count;
}

ModelFacts model_facts(const GgufModel& model) {
  ModelFacts facts;
  std::map<std::string, TypeShare> types;
  std::map<TensorRole, RoleShare> roles;
  double active = 0;
  for (const TensorInfo& tensor : model.tensors) {
    if (tensor.unused) {
      facts.unused_bytes += tensor.range.bytes;
      ++facts.n_unused;
      continue;
    }
    const uint64_t count = n_values(tensor);
    const double share = active_share(model, tensor);
    facts.n_params += count;
    active += static_cast<double>(count) * share;
    facts.active_bytes += static_cast<double>(tensor.range.bytes) * share;
    TypeShare& type = types[tensor.type];
    type.type = tensor.type;
    type.bytes += tensor.range.bytes;
    type.n_params += count;
    RoleShare& role = roles[tensor.role];
    role.role = tensor.role;
    role.bytes += tensor.range.bytes;
    ++role.n_tensors;
  }
  facts.n_params_active = static_cast<uint64_t>(active);
  if (facts.n_params > 0)
    facts.bits_per_weight = static_cast<double>(model.weight_bytes()) * 8 / static_cast<double>(facts.n_params);
  for (auto& [name, share] : types) facts.types.push_back(share);
  for (auto& [name, share] : roles) facts.roles.push_back(share);
  const auto larger = [](const auto& a, const auto& b) { return a.bytes > b.bytes; };
  std::stable_sort(facts.types.begin(), facts.types.end(), larger);
  std::stable_sort(facts.roles.begin(), facts.roles.end(), larger);
  return facts;
}

}  // namespace spillway
