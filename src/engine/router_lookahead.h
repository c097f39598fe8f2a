// SPDX-License-Identifier: MIT
// Guesses the experts of later layers while this one computes: a later layer's router, applied to this layer's router
// input. The residual stream changes little from layer to layer, so the next layer's guess is right for about nine
// experts in ten (shared with BigMoeOnEdge, slotstream and others; 89 % reported for Qwen3-30B-A3B, 60 % for a model of
// more than 256 experts, where two layers ahead still gave 50 %). It decides only what is read early, never what is
// computed.
//
// It keeps score of itself, for each distance: guesses that turn out wrong cost bandwidth, so while too few are right
// nothing is handed out. Used by the decode thread alone.
#pragma once

#include <ggml.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/weight_index.h"

namespace spillway {

class RouterLookahead {
 public:
  static constexpr uint32_t kLayersMax = 4;

  explicit RouterLookahead(const WeightIndex& index) : index_(index) { share_right_.fill(1); }

  // Where a tensor of the model lies in memory; nullptr: not there.
  using DataOf = std::function<const std::byte*(uint32_t tensor)>;
  void use(DataOf data_of) { data_of_ = std::move(data_of); }

  // Looks at how `ids` (MUL_MAT_ID's src[2]) came to be and remembers under `producer` which weights chose them.
  void learn(const std::string& producer, const ggml_tensor* ids);

  // A pass begins: what was guessed in the last one and never judged is forgotten.
  void begin_pass() { guessed_.clear(); }

  struct Guess {
    std::vector<uint32_t> experts;    // most likely ones first
    std::vector<uint32_t> withdrawn;  // handed out before for the same layer, from further away, and not believed now
  };
  // `ids` were just computed by one layer; the experts that the router of `later_producer`, `n_layers` further on
  // (1..kLayersMax), would have chosen for the same input. Empty where it cannot tell: an unknown router, weights or an
  // input that are not in this machine's memory, more tokens than kTokensMax, a distance at which it is often wrong.
  Guess guess(const ggml_tensor* ids, const std::string& later_producer, uint32_t n_layers);

  // What a layer chose in truth; returns those that were handed out for it and are wrong.
  std::vector<uint32_t> judge(const std::string& producer, const std::vector<uint32_t>& chosen);

  double share_right(uint32_t n_layers) const { return share_right_.at(n_layers - 1); }

 private:
  struct Router {
    const ggml_tensor* weights = nullptr;  // [n_expert][n_embd]
    const ggml_tensor* bias = nullptr;     // [n_expert]; nullptr: none
    uint32_t weights_tensor = 0, bias_tensor = 0;
    bool sigmoid = false;  // the bias is added to sigmoids of the logits, not to the logits
  };
  // The weights at the start of the chain that ends in `ids`, and what they were multiplied with.
  struct Chain {
    Router router;
    const ggml_tensor* input = nullptr;  // [n_token][n_embd]
  };
  Chain follow(const ggml_tensor* ids) const;
  std::vector<float> logits(const Router& router, const float* input);
  std::vector<uint32_t> choose(const ggml_tensor* ids, const Router& router);

  const std::byte* data_of(const ggml_tensor* weight, uint32_t tensor) const;

  const WeightIndex& index_;
  DataOf data_of_;
  std::unordered_map<std::string, Router> routers_;
  struct Guessed {
    std::array<std::vector<uint32_t>, kLayersMax> from;  // [n_layers - 1], handed out or not
    std::vector<uint32_t> handed_out;                    // the latest
  };
  std::unordered_map<std::string, Guessed> guessed_;  // by producer, until it is judged
  std::array<double, kLayersMax> share_right_;        // [n_layers - 1]
  std::vector<float> row_scratch_;
};

}  // namespace spillway
