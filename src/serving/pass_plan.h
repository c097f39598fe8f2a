// SPDX-License-Identifier: MIT
// Which sequence computes how much in the next pass. Pure: sequences are read, not changed.
//
// A pass is a token for each of the answers that are being written, or a part of one prompt. Both together would be two
// passes for libllama anyway, which computes sequences with unequally many tokens apart, and the first token of
// the prompt's part would be computed with the answers', in another way than alone.
#pragma once

#include <cstddef>
#include <vector>

#include "serving/served_sequence.h"

namespace spillway {

// The share of one sequence in a pass.
struct PassPart {
  ServedSequence* sequence = nullptr;
  size_t n_tokens = 0;
  size_t n_outputs = 0;  // so many of its last tokens want logits
  // Else they are this, alone in its pass.
  const PromptImage* image = nullptr;
};

struct PassRoom {
  size_t tokens_max = 1;         // of a pass
  size_t outputs_max = 1;        // of those, whose logits may be wanted; at least one for each sequence
  size_t prompt_tokens_max = 0;  // of those, for a prompt while others wait; 0: no limit of its own
};

// Whose turn it is.
struct PassTurn {
  size_t first_answer = 0, next_prompt = 0;  // sequences
  bool prompts_next = false;
};

// Answers and prompts alternate, and prompts take turns. When not all answers fit, the next pass begins with those that
// were left out. While a sequence is suspect, it computes alone.
std::vector<PassPart> plan_pass(const ServedSequences& sequences, const PassRoom& room, PassTurn& turn);

}  // namespace spillway
