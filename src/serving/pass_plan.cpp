// SPDX-License-Identifier: MIT
#include "serving/pass_plan.h"

#include <algorithm>

#include "base/saturating_sub.h"
#include "engine/prompt_parts.h"

namespace spillway {
namespace {

std::vector<PassPart> plan_answers(const std::vector<ServedSequence*>& answers, size_t n_sequences, size_t tokens_max,
                                   PassTurn& turn) {
  std::vector<PassPart> parts;
  for (ServedSequence* sequence : answers) {
    if (parts.size() == tokens_max) {
      turn.first_answer = static_cast<size_t>(sequence->seq) % n_sequences;
      break;
    }
    parts.push_back({.sequence = sequence, .n_tokens = 1, .n_outputs = 1});
  }
  turn.prompts_next = true;
  return parts;
}

// Where a prompt's tokens are scored, a part has no more of them than there are outputs.
// An image is a part, and so is each text between: it is cut as a prompt of its own would be.
PassPart part_of_prompt(ServedSequence& sequence, size_t room, size_t outputs_max) {
  const size_t begin = sequence.n_computed, n = sequence.tokens.size();
  if (const PromptImage* image = sequence.image_at(begin); image != nullptr)
    return {.sequence = &sequence, .n_tokens = image->n_positions, .n_outputs = 0, .image = image};
  const TextStretch text = text_around(sequence.tokens, begin);
  size_t first_scored = begin;
  while (first_scored < n && !sequence.wants_score(first_scored + 1)) ++first_scored;
  if (first_scored < n) room = std::min(room, first_scored - begin + std::max<size_t>(outputs_max, 1));
  size_t end = text.begin + part_end(text.end - text.begin, begin - text.begin, room);
  if (begin < sequence.stop_at) end = std::min(end, sequence.stop_at);
  const size_t n_outputs = std::max<size_t>(saturating_sub(end, first_scored), end == n ? 1 : 0);
  return {.sequence = &sequence, .n_tokens = end - begin, .n_outputs = n_outputs};
}

std::vector<PassPart> plan_prompt(ServedSequence& sequence, size_t n_sequences, size_t tokens_max, size_t outputs_max,
                                  PassTurn& turn) {
  turn.prompts_next = false;
  turn.next_prompt = (static_cast<size_t>(sequence.seq) + 1) % n_sequences;
  return {part_of_prompt(sequence, tokens_max, outputs_max)};
}

}  // namespace

std::vector<PassPart> plan_pass(const ServedSequences& sequences, const PassRoom& room, PassTurn& turn) {
  const size_t n = sequences.size();
  const auto alone = std::find_if(sequences.begin(), sequences.end(),
                                  [](const auto& sequence) { return sequence->busy() && sequence->suspect; });
  // In the order of their turns.
  const auto those = [&](size_t first, bool prompts) {
    std::vector<ServedSequence*> found;
    for (size_t i = 0; i < n; ++i) {
      ServedSequence* sequence = sequences[(first + i) % n].get();
      if (!sequence->busy() || sequence->n_missing() == 0 || (alone != sequences.end() && sequence != alone->get()))
        continue;
      const bool is_prompt = sequence->n_missing() > 1 || sequence->image_at(sequence->n_computed) != nullptr;
      if (is_prompt == prompts) found.push_back(sequence);
    }
    return found;
  };
  const std::vector<ServedSequence*> answers = those(turn.first_answer, false), prompts = those(turn.next_prompt, true);
  const size_t tokens_max = std::max<size_t>(room.tokens_max, 1);
  if (prompts.empty() || (!answers.empty() && !turn.prompts_next))
    return answers.empty() ? std::vector<PassPart>{} : plan_answers(answers, n, tokens_max, turn);
  const bool alone_in_need = answers.empty() && prompts.size() == 1;
  const bool limited = !alone_in_need && room.prompt_tokens_max > 0;
  const size_t prompt_max = limited ? std::min(tokens_max, room.prompt_tokens_max) : tokens_max;
  return plan_prompt(*prompts.front(), n, prompt_max, room.outputs_max, turn);
}

}  // namespace spillway
