// SPDX-License-Identifier: MIT
// Guesses the experts of the next layer while this one computes: the next layer's router, applied to this layer's
// router input. The residual stream changes little from layer to layer, so the guess is right for about nine experts in
// ten (shared with BigMoeOnEdge, slotstream and others; 89 % reported for Qwen3-30B-A3B). It decides only what is read
// early, never what is computed.
//
// It keeps score of itself: guesses that turn out wrong cost bandwidth, so while fewer than kWorthGuessing are right
// nothing is handed out. Used by the decode thread alone.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/layout.h"

namespace spillway {

class RouterLookahead {
 public:
  explicit RouterLookahead(const WeightIndex& index) : index_(index) {}

  // Looks at how `ids` (MUL_MAT_ID's src[2]) came to be and remembers under `producer` which weights chose them.
  void learn(const std::string& producer, const ggml_tensor* ids);

  // `ids` were just computed by one layer; the experts that the router of `next_producer` would have chosen for the
  // same input, most likely ones first. Empty where it cannot tell: an unknown router, weights or an input that are not
  // in this machine's memory, more tokens than kTokensMax.
  std::vector<uint32_t> guess(const ggml_tensor* ids, const std::string& next_producer);

  // What was chosen in truth by the layer that was guessed last; returns those of the guess that were wrong.
  std::vector<uint32_t> judge(const std::string& producer, const std::vector<uint32_t>& chosen);

  double share_right() const { return share_right_; }

 private:
  struct Router {
    const ggml_tensor* weights = nullptr;  // [n_expert][n_embd]
    const ggml_tensor* bias = nullptr;     // [n_expert]; nullptr: none
    bool sigmoid = false;                  // the bias is added to sigmoids of the logits, not to the logits
  };
  // The weights at the start of the chain that ends in `ids`, and what they were multiplied with.
  struct Chain {
    Router router;
    const ggml_tensor* input = nullptr;  // [n_token][n_embd]
  };
  Chain follow(const ggml_tensor* ids) const;
  std::vector<float> logits(const Router& router, const float* input);

  const WeightIndex& index_;
  std::unordered_map<std::string, Router> routers_;
  std::string guessed_for_;  // producer
  std::vector<uint32_t> guessed_;
  double share_right_ = 1;
  std::vector<float> row_scratch_;
};

}  // namespace spillway
