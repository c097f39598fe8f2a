// SPDX-License-Identifier: MIT
#include "engine/logit_biases.h"

#include <algorithm>

namespace spillway {
namespace {

// More decides as little as this does, and an infinite logit makes probabilities that are no numbers.
constexpr float kBiasMax = 1e9f;

}  // namespace

LogitBiases::LogitBiases(std::vector<std::pair<TokenId, float>> biases) {
  std::stable_sort(biases.begin(), biases.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [id, bias] : biases) {
    if (biases_.empty() || biases_.back().first != id) biases_.emplace_back(id, 0.0f);
    float& sum = biases_.back().second;
    sum = std::clamp(sum + std::clamp(bias, -kBiasMax, kBiasMax), -kBiasMax, kBiasMax);
  }
}

void LogitBiases::add_to(std::span<llama_token_data> candidates) const {
  auto bias = biases_.begin();
  for (llama_token_data& candidate : candidates) {
    while (bias != biases_.end() && bias->first < candidate.id) ++bias;
    if (bias == biases_.end()) return;
    if (bias->first == candidate.id) candidate.logit += bias->second;
  }
}

}  // namespace spillway
