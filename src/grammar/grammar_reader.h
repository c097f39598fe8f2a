// SPDX-License-Identifier: MIT
// Reads the notation and writes the program. No recursion: brackets are as many as the text has, on a stack of our own.
//
// Used once, by Grammar::parse().
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/grammar.h"

namespace spillway {

class GrammarReader {
 public:
  GrammarReader(std::string_view text, const Grammar::TokenNumber& token_number);

  Result<std::shared_ptr<const Grammar>> read();

 private:
  using Op = Instruction::Op;
  // What the item that was read last is, for a count that follows it: repeating what repeats anyway adds nothing.
  enum class Count : uint8_t { kOnce, kOptional, kAny, kSome, kCounted };

  // A rule's body or a bracket within it. Alternatives begin with a jump of one step, which becomes a split when
  // another follows; each but the last ends with a jump behind all of them, known when the bracket closes.
  struct Bracket {
    size_t item;         // where the bracket itself begins, as an item of what is around it
    size_t alternative;  // where the current one begins
    std::vector<size_t> ends;
  };
  // The item that was read last: [begin, end) of the program. begin is a jump of one step that a count may need.
  struct Item {
    size_t begin = 0, end = 0;
    Count count = Count::kOnce;
    bool is_there = false;
  };

  Failure fail(const std::string& what) const;
  bool at_end() const { return at_ >= text_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool take(char c);
  void skip_space(bool newlines);
  std::string_view take_name();

  Result<void> read_rule();
  Result<void> read_body();
  Result<void> read_item();
  Result<void> read_literal();
  Result<void> read_set();
  Result<void> read_token();
  Result<char32_t> read_character();
  Result<char32_t> read_hex(size_t digits);
  Result<char32_t> read_utf8();
  Result<uint64_t> read_number();

  void open_bracket();
  void next_alternative();
  void close_bracket();
  void begin_item();
  void end_item() { item_ = {item_.begin, program_.size(), Count::kOnce, true}; }

  // {min,max} of the last item; max nullopt: without end.
  Result<void> count(uint64_t min, std::optional<uint64_t> max);
  void count_simply(Count count);
  Result<void> read_braces();

  void emit(Op op, int64_t operand) { program_.push_back({op, false, static_cast<int32_t>(operand)}); }
  void point(size_t from, Op op, size_t to);
  Result<void> check_size() const;
  int32_t set_number(CharacterRanges ranges);
  size_t rule_number(std::string_view name);

  std::string_view text_;
  const Grammar::TokenNumber& token_number_;
  size_t at_ = 0;
  std::vector<Instruction> program_;
  std::vector<Bracket> brackets_;
  Item item_;
  std::vector<CharacterRanges> sets_;
  std::unordered_map<std::string, int32_t> set_numbers_;
  std::unordered_map<std::string, size_t> rule_numbers_;
  std::vector<uint32_t> rule_starts_;  // kNotYet: named, and not defined so far
};

}  // namespace spillway
