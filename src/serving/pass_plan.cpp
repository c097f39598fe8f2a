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
      parts.push_back({slot, 1, 1});
      --room;
    } else if (first_left_out == n) {
      first_left_out = index;
    }
  }
  // 2. Prompts share the rest; what a short one leaves goes to those behind it. Where a prompt's tokens are scored, one
  // part brings no more of them than there are outputs, of which each prompt behind it may need one.
  size_t outputs = pass_room.outputs_max - std::min(pass_room.outputs_max, parts.size());
  if (!parts.empty() && pass_room.prompt_tokens_max > 0) room = std::min(room, pass_room.prompt_tokens_max);
  for (size_t i = 0; i < prompts.size() && room > 0; ++i) {
    ServingSlot* slot = prompts[i];
    size_t share = std::max<size_t>(room / (prompts.size() - i), 1);
    if (pass_room.stops_at_checkpoints && slot->n_computed < slot->next_checkpoint)
      share = std::min(share, slot->next_checkpoint - slot->n_computed);
    size_t count = std::min(share, slot->n_missing());
    const size_t behind = prompts.size() - i - 1, granted = std::max<size_t>(outputs - std::min(outputs, behind), 1);
    size_t n_outputs = 0;
    for (size_t t = 0; t < count && slot->job->request.scores_from; ++t) {
      n_outputs += slot->wants_score(slot->n_computed + t + 1) || n_outputs > 0 ? 1 : 0;
      if (n_outputs == granted) count = t + 1;
    }
    if (n_outputs == 0 && count == slot->n_missing()) n_outputs = 1;
    parts.push_back({slot, count, n_outputs});
    outputs -= std::min(outputs, n_outputs);
    room -= count;
  }
  if (first_left_out < n) first = first_left_out;
  return parts;
}

}  // namespace spillway
