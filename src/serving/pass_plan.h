// SPDX-License-Identifier: MIT
// Who computes how much in the next pass. Pure: slots are looked at, not touched.
//
// A pass is a token for each of the answers that are being written, or a part of one prompt. Both together would be two
// passes for libllama anyway, which computes sequences that bring unequally many tokens apart, and the first token of
// the prompt's part would be computed with the answers', in another way than alone.
#pragma once

#include <cstddef>
#include <vector>

#include "serving/serving_slot.h"

namespace spillway {

// What one slot brings to a pass.
struct PassPart {
  ServingSlot* slot = nullptr;
  size_t n_tokens = 0;
  size_t n_outputs = 0;  // so many of its last tokens want logits
  // Else they are this, alone in its pass.
  const PromptImage* image = nullptr;
};

struct PassRoom {
  size_t tokens_max = 1;         // of a pass
  size_t outputs_max = 1;        // of those, whose logits may be wanted; at least one for each slot
  size_t prompt_tokens_max = 0;  // of those, for a prompt while others wait; 0: no limit of its own
};

// Whose turn it is.
struct PassTurn {
  size_t first_answer = 0, next_prompt = 0;  // slots
  bool prompts_next = false;
};

// Answers and prompts alternate, and prompts take turns. When not all answers fit, the next pass begins with those that
// were left out. While a slot is suspect, it computes alone.
std::vector<PassPart> plan_pass(const ServingSlots& slots, const PassRoom& room, PassTurn& turn);

}  // namespace spillway
