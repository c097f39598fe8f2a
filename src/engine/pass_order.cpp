// SPDX-License-Identifier: MIT
#include "engine/pass_order.h"

#include <algorithm>

namespace spillway {

void PassOrder::note(const ggml_tensor* node, const WeightIndex& index) {
  if (computes_nothing(node)) return;
  for (int s = 0; s < GGML_MAX_SRC; ++s) {
    const ggml_tensor* source = node->src[s];
    if (source == nullptr) continue;
    const ggml_tensor* weight = root_of(source);
    const uint32_t tensor = index.find(weight->data);
    if (tensor == WeightIndex::kNone) continue;
    if (seen_.insert({weight, static_cast<int>(node->op), s}).second)
      uses_.push_back({.tensor = tensor, .weight = weight, .op = node->op, .source = s, .in_part = weight != source});
    if (node->op != GGML_OP_MUL_MAT_ID || s != 0 || node->src[2] == nullptr) continue;
    const ggml_tensor* producer = producer_of(node->src[2]);
    const auto [at, is_new] = producer_by_name_.try_emplace(producer->name, producers_.size());
    if (is_new) producers_.push_back({.name = producer->name, .users = {}});
    std::vector<uint32_t>& users = producers_[at->second].users;
    if (std::find(users.begin(), users.end(), tensor) == users.end()) users.push_back(tensor);
  }
}

size_t PassOrder::find_producer(std::string_view name) const {
  const auto found = producer_by_name_.find(name);
  return found == producer_by_name_.end() ? producers_.size() : found->second;
}

}  // namespace spillway
