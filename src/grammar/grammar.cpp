// SPDX-License-Identifier: MIT
#include "grammar/grammar.h"

#include <algorithm>

namespace spillway {

uint32_t Grammar::class_beyond_ascii(char32_t c) const {
  return static_cast<uint32_t>(std::upper_bound(class_starts_.begin(), class_starts_.end(), c) -
                               class_starts_.begin()) -
         1;
}

void Grammar::number_classes() {
  class_starts_ = {0};
  const auto range = [&](char32_t first, char32_t last) {
    class_starts_.push_back(first);
    class_starts_.push_back(last + 1);
  };
  for (const Instruction& step : program_)
    if (step.op == Instruction::Op::kCharacter)
      range(static_cast<char32_t>(step.operand), static_cast<char32_t>(step.operand));
  for (const CharacterRanges& set : sets_)
    for (const auto& [first, last] : set) range(first, last);
  std::sort(class_starts_.begin(), class_starts_.end());
  class_starts_.erase(std::unique(class_starts_.begin(), class_starts_.end()), class_starts_.end());
  ascii_classes_.resize(128);
  for (char32_t c = 0; c < 128; ++c) ascii_classes_[c] = class_beyond_ascii(c);
}

}  // namespace spillway
