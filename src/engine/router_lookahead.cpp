// SPDX-License-Identifier: MIT
#include "engine/router_lookahead.h"

#include <ggml-backend.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

namespace spillway {
namespace {

// More tokens than this use most experts between them, or take longer to guess for than they save.
constexpr int64_t kTokensMax = 8;
// The router is at most this many nodes before its ids.
constexpr size_t kNodesMax = 48;
// Below this share of right guesses, the reads for wrong ones cost a busy disk more than the right ones save.
constexpr double kWorthGuessing = 0.5;
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

}  // namespace

RouterLookahead::Chain RouterLookahead::follow(const ggml_tensor* ids) const {
  Chain chain;
  std::deque<const ggml_tensor*> nodes = {ids};
  for (size_t seen = 0; !nodes.empty() && seen < kNodesMax; ++seen) {
    const ggml_tensor* node = nodes.front();
    nodes.pop_front();
    const ggml_tensor *a = node->src[0], *b = node->src[1];
    const bool weighted = a != nullptr && b != nullptr;
    if (node->op == GGML_OP_MUL_MAT && weighted && index_.find(a->data) != WeightIndex::kNone) {
      chain.router.weights = a;
      chain.input = b;
      return chain;
    }
    if (node->op == GGML_OP_ADD && weighted && index_.find(b->data) != WeightIndex::kNone) chain.router.bias = b;
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
  const bool usable_bias = router.bias != nullptr && router.bias->type == GGML_TYPE_F32 &&
                           ggml_nelements(router.bias) == n_expert && in_host_memory(router.bias);
  if (!usable_bias) router.bias = nullptr;
  if (router.weights != nullptr && !in_host_memory(router.weights)) router.weights = nullptr;
  routers_.emplace(producer, router);
}

std::vector<float> RouterLookahead::logits(const Router& router, const float* input) {
  const int64_t n_embd = router.weights->ne[0];
  std::vector<float> logits;
  for (int64_t expert = 0; expert < router.weights->ne[1]; ++expert) {
    const auto* row = static_cast<const std::byte*>(router.weights->data) + expert * router.weights->nb[1];
    const auto* numbers = reinterpret_cast<const float*>(row);
    if (router.weights->type != GGML_TYPE_F32) {
      row_scratch_.resize(static_cast<size_t>(n_embd));
      ggml_get_type_traits(router.weights->type)->to_float(row, row_scratch_.data(), n_embd);
      numbers = row_scratch_.data();
    }
    float logit = dot(numbers, input, n_embd);
    if (router.sigmoid && router.bias != nullptr) logit = 1 / (1 + std::exp(-logit));
    if (router.bias != nullptr) logit += static_cast<const float*>(router.bias->data)[expert];
    logits.push_back(logit);
  }
  return logits;
}

std::vector<uint32_t> RouterLookahead::guess(const ggml_tensor* ids, const std::string& next_producer) {
  guessed_for_.clear();
  guessed_.clear();
  const auto next = routers_.find(next_producer);
  if (next == routers_.end() || next->second.weights == nullptr || ids->ne[1] > kTokensMax) return {};
  const Router& router = next->second;
  const ggml_tensor* input = follow(ids).input;
  const bool readable =
      input != nullptr && input->type == GGML_TYPE_F32 && input->ne[0] == router.weights->ne[0] &&
      input->ne[1] == ids->ne[1] && input->nb[0] == sizeof(float) && in_host_memory(input) &&
      (router.weights->type == GGML_TYPE_F32 || ggml_get_type_traits(router.weights->type)->to_float != nullptr);
  if (!readable) return {};
  std::vector<bool> seen(static_cast<size_t>(router.weights->ne[1]));
  for (int64_t token = 0; token < input->ne[1]; ++token) {
    const auto* row = static_cast<const std::byte*>(input->data) + token * input->nb[1];
    const std::vector<float> scores = logits(router, reinterpret_cast<const float*>(row));
    std::vector<uint32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0u);
    const auto n_used = std::min<size_t>(static_cast<size_t>(ids->ne[0]), order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n_used), order.end(),
                      [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
    for (size_t k = 0; k < n_used; ++k) {
      if (seen[order[k]]) continue;
      seen[order[k]] = true;
      guessed_.push_back(order[k]);
    }
  }
  guessed_for_ = next_producer;
  return share_right_ >= kWorthGuessing ? guessed_ : std::vector<uint32_t>{};
}

std::vector<uint32_t> RouterLookahead::judge(const std::string& producer, const std::vector<uint32_t>& chosen) {
  if (producer != guessed_for_ || guessed_.empty()) return {};
  std::vector<uint32_t> wrong;
  for (const uint32_t expert : guessed_)
    if (std::find(chosen.begin(), chosen.end(), expert) == chosen.end()) wrong.push_back(expert);
  const double right = 1 - static_cast<double>(wrong.size()) / static_cast<double>(guessed_.size());
  share_right_ += (right - share_right_) / kScoreLayers;
  guessed_for_.clear();
  return wrong;
}

}  // namespace spillway
