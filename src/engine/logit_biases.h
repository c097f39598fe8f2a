// SPDX-License-Identifier: MIT
// What a request adds to the logits of single tokens.
//
// libllama's own sampler for it looks for each token among all biases once a grammar left tokens out: 13 s for one
// token with 748,572 biases. Here both are in the order of their ids, and one walk goes through them.
//
// Threads: any, constant.
#pragma once

#include <llama.h>

#include <span>
#include <utility>
#include <vector>

#include "engine/prompt_image.h"

namespace spillway {

class LogitBiases {
 public:
  // A token that is named more than once gets the sum.
  explicit LogitBiases(std::vector<std::pair<TokenId, float>> biases);

  // `candidates` are in the order of their ids.
  void add_to(std::span<llama_token_data> candidates) const;

 private:
  std::vector<std::pair<TokenId, float>> biases_;  // one of a token, in the order of their ids
};

}  // namespace spillway
