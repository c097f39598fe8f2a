// SPDX-License-Identifier: MIT
#include "serving/pass_plan.h"

#include <algorithm>

namespace spillway {

std::vector<PassPart> plan_pass(const ServingSlots& slots, const PassRoom& pass_room, size_t& first) {
  // 1. One token of each answer, while there is room; whose turn it is begins.
  std::vector<PassPart> parts;
  std::vector<ServingSlot*> prompts;
  size_t room = std::max<size_t>(pass_room.tokens_max, 1);
  const size_t n = slots.size();
  size_t first_left_out = n;
  const auto alone =
      std::find_if(slots.begin(), slots.end(), [](const auto& slot) { return slot->busy() && slot->suspect; });
  for (size_t i = 0; i < n; ++i) {
    const size_t index = (first + i) % n;
    ServingSlot* slot = slots[index].get();
    if (!slot->busy() || slot->n_missing() == 0 || (alone != slots.end() && slot != alone->get())) continue;
    if (slot->n_missing() > 1) {
      prompts.push_back(slot);
    } else if (room > 0) {
      parts.push_back({slot, 1, true});
      --room;
    } else if (first_left_out == n) {
      first_left_out = index;
    }
  }
  // 2. Prompts share the rest; what a short one leaves goes to those behind it.
  if (!parts.empty() && pass_room.prompt_tokens_max > 0) room = std::min(room, pass_room.prompt_tokens_max);
  for (size_t i = 0; i < prompts.size() && room > 0; ++i) {
    ServingSlot* slot = prompts[i];
    size_t share = std::max<size_t>(room / (prompts.size() - i), 1);
    if (pass_room.stops_at_checkpoints && slot->n_computed < slot->next_checkpoint)
      share = std::min(share, slot->next_checkpoint - slot->n_computed);
    const size_t count = std::min(share, slot->n_missing());
    parts.push_back({slot, count, count == slot->n_missing()});
    room -= count;
  }
  if (first_left_out < n) first = first_left_out;
  return parts;
}

}  // namespace spillway
