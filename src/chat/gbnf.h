// SPDX-License-Identifier: MIT
// Pieces of llama.cpp's grammar notation (GBNF). Pure.
//
// An expression is text that may stand on the right of a rule; what these functions return may stand anywhere in one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace spillway {

// Longer grammars nobody reads (grammar/grammar.h): what would be one is not written to its end.
constexpr size_t kGbnfBytesMax = 4u << 20;

// `text` itself, in quotes.
std::string gbnf_literal(std::string_view text);

// One character of a class, escaped for [].
std::string gbnf_class_character(char32_t c);

// (a | b | c); one alone stays alone.
std::string gbnf_any_of(const std::vector<std::string>& alternatives);

// expression{min,max}; max nullopt: without end. Counts above kGbnfRepeatMax are for the caller to refuse: llama.cpp
// does.
constexpr uint64_t kGbnfRepeatMax = 1000;
std::string gbnf_repeat(const std::string& expression, uint64_t min, std::optional<uint64_t> max);

// The integers from min to max without leading zeros; nullopt: without end there (up to 16 digits).
// Empty where there is none.
std::string gbnf_integers(std::optional<int64_t> min, std::optional<int64_t> max);

// The same with fractions: numbers x with min <= x <= max, or < where exclusive.
struct NumberBounds {
  std::optional<int64_t> min, max;
  bool exclusive_min = false, exclusive_max = false;
};
std::string gbnf_numbers(const NumberBounds& bounds);

// Plain text of a JSON string (without quotes and escapes) that is none of `names`.
std::string gbnf_other_names(const std::vector<std::string>& names);

// Rules, one per line, for any text that holds none of `marks` (not empty). `name` is the rule to refer to. Of a mark
// of more than 200 characters the text does not hold those either.
std::string gbnf_text_without(const std::vector<std::string>& marks, const std::string& name);

// A grammar of what either of two admits, which are made of the above: no comments, no tokens by name.
std::string gbnf_either(std::string_view one, std::string_view other);

}  // namespace spillway
