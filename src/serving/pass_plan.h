// SPDX-License-Identifier: MIT
// Who computes how much in the next pass. Pure: slots are looked at, not touched.
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
};

struct PassRoom {
  size_t tokens_max = 1;              // of a pass
  size_t outputs_max = 1;             // of those, whose logits may be wanted; at least one for each slot
  size_t prompt_tokens_max = 0;       // of those, for prompts while answers are being written; 0: no limit of its own
  bool stops_at_checkpoints = false;  // a prompt's part ends where its slot wants a checkpoint
};

// All that are being answered bring one token each; what room is left is shared by the prompts. When not all fit, the
// next pass begins with those that were left out: `first` is the slot to begin with, and is moved on. While a slot is
// suspect, it computes alone.
std::vector<PassPart> plan_pass(const ServingSlots& slots, const PassRoom& pass_room, size_t& first);

}  // namespace spillway
