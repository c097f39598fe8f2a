// SPDX-License-Identifier: MIT
#include "serving/pass_plan.h"

#include <algorithm>

#include "base/saturating_sub.h"
#include "engine/prompt_parts.h"

namespace spillway {
namespace {

std::vector<PassPart> plan_answers(const std::vector<ServingSlot*>& answers, size_t n_slots, size_t tokens_max,
                                   PassTurn& turn) {
  std::vector<PassPart> parts;
  for (ServingSlot* slot : answers) {
    if (parts.size() == tokens_max) {
      turn.first_answer = static_cast<size_t>(slot->seq) % n_slots;
      break;
    }
    parts.push_back({.slot = slot, .n_tokens = 1, .n_outputs = 1});
  }
  turn.prompts_next = true;
  return parts;
}

// Where a prompt's tokens are scored, a part brings no more of them than there are outputs.
// An image is a part, and so is each text between: it is cut as a prompt of its own would be.
PassPart part_of_prompt(ServingSlot& slot, size_t room, size_t outputs_max) {
  const size_t begin = slot.n_computed, n = slot.tokens.size();
  if (const PromptImage* image = slot.image_at(begin); image != nullptr)
    return {.slot = &slot, .n_tokens = image->n_positions, .n_outputs = 0, .image = image};
  const TextStretch text = text_around(slot.tokens, begin);
  size_t first_scored = begin;
  while (first_scored < n && !slot.wants_score(first_scored + 1)) ++first_scored;
  if (first_scored < n) room = std::min(room, first_scored - begin + std::max<size_t>(outputs_max, 1));
  size_t end = text.begin + part_end(text.end - text.begin, begin - text.begin, room);
  if (begin < slot.stop_at) end = std::min(end, slot.stop_at);
  const size_t n_outputs = std::max<size_t>(saturating_sub(end, first_scored), end == n ? 1 : 0);
  return {.slot = &slot, .n_tokens = end - begin, .n_outputs = n_outputs};
}

std::vector<PassPart> plan_prompt(ServingSlot& slot, size_t n_slots, size_t tokens_max, size_t outputs_max,
                                  PassTurn& turn) {
  turn.prompts_next = false;
  turn.next_prompt = (static_cast<size_t>(slot.seq) + 1) % n_slots;
  return {part_of_prompt(slot, tokens_max, outputs_max)};
}

}  // namespace

std::vector<PassPart> plan_pass(const ServingSlots& slots, const PassRoom& room, PassTurn& turn) {
  const size_t n = slots.size();
  const auto alone =
      std::find_if(slots.begin(), slots.end(), [](const auto& slot) { return slot->busy() && slot->suspect; });
  // In the order of their turns.
  const auto those = [&](size_t first, bool prompts) {
    std::vector<ServingSlot*> found;
    for (size_t i = 0; i < n; ++i) {
      ServingSlot* slot = slots[(first + i) % n].get();
      if (!slot->busy() || slot->n_missing() == 0 || (alone != slots.end() && slot != alone->get())) continue;
      const bool is_prompt = slot->n_missing() > 1 || slot->image_at(slot->n_computed) != nullptr;
      if (is_prompt == prompts) found.push_back(slot);
    }
    return found;
  };
  const std::vector<ServingSlot*> answers = those(turn.first_answer, false), prompts = those(turn.next_prompt, true);
  const size_t tokens_max = std::max<size_t>(room.tokens_max, 1);
  if (prompts.empty() || (!answers.empty() && !turn.prompts_next))
    return answers.empty() ? std::vector<PassPart>{} : plan_answers(answers, n, tokens_max, turn);
  const bool alone_in_need = answers.empty() && prompts.size() == 1;
  const bool limited = !alone_in_need && room.prompt_tokens_max > 0;
  const size_t prompt_max = limited ? std::min(tokens_max, room.prompt_tokens_max) : tokens_max;
  return plan_prompt(*prompts.front(), n, prompt_max, room.outputs_max, turn);
}

}  // namespace spillway
