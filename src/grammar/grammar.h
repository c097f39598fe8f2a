// SPDX-License-Identifier: MIT
// A grammar in llama.cpp's notation (GBNF), read and checked: a program for the automaton that follows a text through
// it.
//
// The notation is llama.cpp's, its quirks are not: counts are exact however large, "\x00" is a character, an empty
// class is an error. Why not libllama's own reader and matcher: both recurse as deep as the text nests, and the
// matcher's time and memory per token have no bound and cannot be interrupted (docs/design.md).
//
// Constant once made, any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace spillway {

// Sorted, apart from each other, without surrogates: [first, last] each.
using CharacterRanges = std::vector<std::pair<char32_t, char32_t>>;

// One step. What is not a jump goes on with the next instruction; operands that are places are relative to their own.
struct Instruction {
  enum class Op : uint8_t {
    kCharacter,  // this one character
    kSet,        // one of sets[operand]
    kToken,      // a whole token of the model, by number
    kNotToken,   // any other token
    kJump,       // go on there
    kSplit,      // go on with the next, or there
    kCall,       // rule_starts[operand], then go on here; is_last: with whatever called this rule
    kReturn,
  };
  Op op = Op::kJump;
  bool is_last = false;
  int32_t operand = 1;
};

class Grammar {
 public:
  static constexpr size_t kTextBytesMax = 4u << 20;
  static constexpr size_t kInstructionsMax = 1u << 20;

  // The number of the one token that is written so ("<think>"); nullopt: there is none.
  using TokenNumber = std::function<std::optional<int32_t>(std::string_view text)>;

  //   InvalidArgument   not of the notation, a rule that is missing, no rule "root", left recursion, larger than the
  //                     bounds above; the message says where
  static Result<std::shared_ptr<const Grammar>> parse(std::string_view text, const TokenNumber& token_number = {});

  const std::vector<Instruction>& program() const { return program_; }
  uint32_t rule_start(size_t rule) const { return rule_starts_[rule]; }
  uint32_t root_start() const { return rule_starts_[root_]; }
  const CharacterRanges& set(size_t index) const { return sets_[index]; }

  // Characters that no instruction tells apart are of one class. Classes are numbered from 0.
  uint32_t class_of(char32_t c) const { return c < ascii_classes_.size() ? ascii_classes_[c] : class_beyond_ascii(c); }
  uint32_t n_classes() const { return static_cast<uint32_t>(class_starts_.size()); }
  // The first character of each class; sorted.
  const std::vector<char32_t>& class_starts() const { return class_starts_; }

  const std::string& text() const { return text_; }

 private:
  friend class GrammarReader;
  Grammar() = default;

  uint32_t class_beyond_ascii(char32_t c) const;
  void number_classes();

  std::string text_;
  std::vector<Instruction> program_;
  std::vector<uint32_t> rule_starts_;
  size_t root_ = 0;
  std::vector<CharacterRanges> sets_;
  std::vector<char32_t> class_starts_;
  std::vector<uint32_t> ascii_classes_;
};

}  // namespace spillway
