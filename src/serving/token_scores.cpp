// SPDX-License-Identifier: MIT
#include "serving/token_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/numbers.h"

namespace spillway {

TokenScore score_token(std::span<const float> logits, TokenId chosen, size_t n_top) {
  if (!are_logits(logits)) return {.id = chosen, .bytes = {}, .logprob = std::numeric_limits<float>::quiet_NaN()};
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - max));
  const auto logprob = [&](TokenId id) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(id)] - max) - std::log(sum));
  };
  TokenScore score{.id = chosen, .bytes = {}, .logprob = logprob(chosen)};
  n_top = std::min(n_top, logits.size());
  if (n_top == 0) return score;
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto likelier = [&](TokenId a, TokenId b) {
    const float la = logits[static_cast<size_t>(a)], lb = logits[static_cast<size_t>(b)];
    return la != lb ? la > lb : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n_top), ids.end(), likelier);
  for (size_t i = 0; i < n_top; ++i) score.top.push_back({.id = ids[i], .bytes = {}, .logprob = logprob(ids[i])});
  return score;
}

}  // namespace spillway
