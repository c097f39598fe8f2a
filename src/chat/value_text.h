// SPDX-License-Identifier: MIT
// Values as models write them outside of JSON: python's literals, and what templates make up. Read from the beginning
// of a text that may not be whole yet, and told as JSON. Pure.
#pragma once

#include <string>
#include <string_view>

#include "chat/call_syntax.h"

namespace spillway {

struct ValueAttempt {
  enum Outcome {
    kMore,  // the text ends before this can be known
    kValue,
    kNone
  };
  Outcome outcome = kNone;
  size_t size = 0;  // with kValue: of its text
  std::string json = {};
};

// A literal of python's or JSON's: 'a', "a", 1.5, True, true, [1, 'a'], (1, 2), {'a': None}. Numbers and words end
// where something else follows, so the end of `text` is kMore behind them.
ValueAttempt read_literal(std::string_view text);

// What stands between quotes, without its escapes: python's and JSON's. What is no escape stays as it is.
std::string unescaped(std::string_view text);

// A value within marks (ValueSyntax::Nested::kMarked), or a literal.
ValueAttempt read_marked(std::string_view text, const ValueSyntax& syntax);

// The whole of `text` as one value; "" where it is none.
std::string whole_literal(std::string_view text);
// `words_are_text`: where nothing tells text from other values, all are text.
std::string whole_marked(std::string_view text, const ValueSyntax& syntax, bool words_are_text = false);

// JSON for a number or a word; "" where it is none.
std::string word_json(std::string_view word, const ValueSyntax& syntax);

}  // namespace spillway
