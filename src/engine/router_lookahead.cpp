// SPDX-License-Identifier: MIT
#include "engine/router_lookahead.h"

#include <ggml-backend.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <utility>

namespace spillway {
namespace {

// More tokens than this use most experts between them, or take longer to guess for than they save.
constexpr int64_t kTokensMax = 8;
// The router is at most this many nodes before its ids.
constexpr size_t kNodesMax = 48;
// Below this share of right guesses, the reads for wrong ones cost a busy disk more than the right ones save.
constexpr double kWorthGuessing = 0.5;
// The same for layers behind the next: the disk would have rested, but what it reads in vain may be in the way of the
// next layer's, and a better guess follows.
constexpr double kWorthGuessingFar = 0.67;
// Layers that the score remembers.
constexpr double kScoreLayers = 128;

bool in_host_memory(const ggml_tensor* tensor) {
  const ggml_tensor* owner = tensor->view_src != nullptr ? tensor->view_src : tensor;
  return tensor->data != nullptr && owner->buffer != nullptr && ggml_backend_buffer_is_host(owner->buffer);
}

// Eight sums side by side: the compiler may not reorder a float sum by itself.
float dot(const float* a, const float* b, int64_t n) {
  float sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  return std::accumulate(std::begin(sums), std::end(sums), sum);
}

// Those of `experts` that are not among `others`.
std::vector<uint32_t> without(const std::vector<uint32_t>& experts, const std::vector<uint32_t>& others) {
  std::vector<uint32_t> rest;
  for (const uint32_t expert : experts)
    if (std::find(others.begin(), others.end(), expert) == others.end()) rest.push_back(expert);
  return rest;
}

}  // namespace

RouterLookahead::Chain RouterLookahead::follow(const ggml_tensor* ids) const {
  Chain chain;
  std::deque<const ggml_tensor*> nodes = {ids};
  for (size_t seen = 0; !nodes.empty() && seen < kNodesMax; ++seen) {
    const ggml_tensor* node = nodes.front();
    nodes.pop_front();
    const ggml_tensor *a = node->src[0], *b = node->src[1];
    const bool weighted = a != nullptr && b != nullptr;
    if (node->op == GGML_OP_MUL_MAT && weighted) {
      chain.router.weights_tensor = index_.find(a->data);
      if (chain.router.weights_tensor != WeightIndex::kNone) {
        chain.router.weights = a;
        chain.input = b;
        return chain;
      }
    }
    if (node->op == GGML_OP_ADD && weighted)
      if (const uint32_t tensor = index_.find(b->data); tensor != WeightIndex::kNone) {
        chain.router.bias = b;
        chain.router.bias_tensor = tensor;
      }
    if (node->op == GGML_OP_UNARY && ggml_get_unary_op(node) == GGML_UNARY_OP_SIGMOID) chain.router.sigmoid = true;
    for (const ggml_tensor* source : node->src)
      if (source != nullptr) nodes.push_back(source);
  }
  return {};
}

void RouterLookahead::learn(const std::string& producer, const ggml_tensor* ids) {
  if (routers_.contains(producer)) return;
  Router router = follow(ids).router;
  const auto n_expert = router.weights != nullptr ? router.weights->ne[1] : 0;
  const bool usable_bias =
      router.bias != nullptr && router.bias->type == GGML_TYPE_F32 && ggml_nelements(router.bias) == n_expert;
  if (!usable_bias) router.bias = nullptr;
  routers_.emplace(producer, router);
}

// In our memory, not in the file's mapping: reading that would be a page fault.
const std::byte* RouterLookahead::data_of(const ggml_tensor* weight, uint32_t tensor) const {
  return weight != nullptr && data_of_ ? data_of_(tensor) : nullptr;
}

std::vector<float> RouterLookahead::logits(const Router& router, const float* input) {
  const int64_t n_embd = router.weights->ne[0];
  const std::byte* weights = data_of(router.weights, router.weights_tensor);
  const auto* bias = reinterpret_cast<const float*>(data_of(router.bias, router.bias_tensor));
  std::vector<float> logits;
  if (weights == nullptr || (router.bias != nullptr && bias == nullptr)) return logits;
  for (int64_t expert = 0; expert < router.weights->ne[1]; ++expert) {
    const std::byte* row = weights + expert * static_cast<int64_t>(router.weights->nb[1]);
    const auto* numbers = reinterpret_cast<const float*>(row);
    if (router.weights->type != GGML_TYPE_F32) {
      row_scratch_.resize(static_cast<size_t>(n_embd));
      ggml_get_type_traits(router.weights->type)->to_float(row, row_scratch_.data(), n_embd);
      numbers = row_scratch_.data();
    }
    float logit = dot(numbers, input, n_embd);
    if (router.sigmoid && bias != nullptr) logit = 1 / (1 + std::exp(-logit));
    if (bias != nullptr) logit += bias[expert];
    logits.push_back(logit);
  }
  return logits;
}

// What `router` would choose for the input of the layer that chose `ids`.
std::vector<uint32_t> RouterLookahead::choose(const ggml_tensor* ids, const Router& router) {
  if (router.weights == nullptr || ids->ne[1] > kTokensMax) return {};
  const ggml_tensor* input = follow(ids).input;
  const bool readable =
      input != nullptr && input->type == GGML_TYPE_F32 && input->ne[0] == router.weights->ne[0] &&
      input->ne[1] == ids->ne[1] && input->nb[0] == sizeof(float) && in_host_memory(input) &&
      (router.weights->type == GGML_TYPE_F32 || ggml_get_type_traits(router.weights->type)->to_float != nullptr);
  if (!readable) return {};
  std::vector<uint32_t> chosen;
  std::vector<bool> seen(static_cast<size_t>(router.weights->ne[1]));
  for (int64_t token = 0; token < input->ne[1]; ++token) {
    const auto* row = static_cast<const std::byte*>(input->data) + token * input->nb[1];
    const std::vector<float> scores = logits(router, reinterpret_cast<const float*>(row));
    if (scores.empty()) return {};
    std::vector<uint32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0u);
    const auto n_used = std::min<size_t>(static_cast<size_t>(ids->ne[0]), order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_used), order.end(),
                      [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
    for (size_t k = 0; k < n_used; ++k) {
      if (seen[order[k]]) continue;
      seen[order[k]] = true;
      chosen.push_back(order[k]);
    }
  }
  return chosen;
}

RouterLookahead::Guess RouterLookahead::guess(const ggml_tensor* ids, const std::string& later_producer,
                                              uint32_t n_layers) {
  const auto router = routers_.find(later_producer);
  if (router == routers_.end()) return {};
  std::vector<uint32_t> experts = choose(ids, router->second);
  if (experts.empty()) return {};
  Guessed& guessed = guessed_[later_producer];
  guessed.from.at(n_layers - 1) = experts;
  if (share_right(n_layers) < (n_layers == 1 ? kWorthGuessing : kWorthGuessingFar)) return {};
  std::vector<uint32_t> withdrawn = without(guessed.handed_out, experts);
  guessed.handed_out = experts;
  return {std::move(experts), std::move(withdrawn)};
}

std::vector<uint32_t> RouterLookahead::judge(const std::string& producer, const std::vector<uint32_t>& chosen) {
  const auto at = guessed_.find(producer);
  if (at == guessed_.end()) return {};
  for (uint32_t i = 0; i < kLayersMax; ++i) {
    const std::vector<uint32_t>& guessed = at->second.from[i];
    if (guessed.empty()) continue;
    const auto n_wrong = static_cast<double>(without(guessed, chosen).size());
    share_right_[i] += (1 - n_wrong / static_cast<double>(guessed.size()) - share_right_[i]) / kScoreLayers;
  }
  std::vector<uint32_t> wrong = without(at->second.handed_out, chosen);
  guessed_.erase(at);
  return wrong;
}

}  // namespace spillway
