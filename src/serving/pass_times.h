// SPDX-License-Identifier: MIT
// How long parts of prompts take, and from that how much of a prompt may be computed while others wait.
//
// A part takes some time whatever is in it, above all for weights that it reads, and some for each token; both are
// learned from parts of several lengths. Between two tokens of an answer, a part of somebody's prompt may take a
// second, or four times what a token of the answers takes. But no part is so short that most of it would be spent on
// what every part takes: prompts would take longer for nothing.
//
// Threads: one at a time.
#pragma once

#include <cstddef>

namespace spillway {

class PassTimes {
 public:
  void answers(double seconds);                  // a pass of a token each
  void prompt(size_t n_tokens, double seconds);  // a part of a prompt

  // For a prompt while answers are being written, or while only other prompts wait. 0: nothing is known yet. Else a
  // multiple of kPartTokens, at least one.
  size_t tokens_beside_answers() const;
  size_t tokens_beside_prompts() const;

 private:
  size_t tokens_within(double seconds) const;

  double answers_s_ = 0;  // 0: none yet
  // Of parts so far, the later ones weighing more: their sum of weights, of tokens, seconds, products.
  double n_ = 0, tokens_ = 0, seconds_ = 0, tokens2_ = 0, tokens_seconds_ = 0;
};

}  // namespace spillway
