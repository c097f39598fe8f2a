// SPDX-License-Identifier: MIT
// Whether a text is of a grammar.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/utf8_decoder.h"
#include "grammar/grammar_automaton.h"

namespace spillway {

inline std::shared_ptr<const Grammar> grammar_of(std::string_view text) {
  auto grammar = Grammar::parse(text);
  EXPECT_TRUE(grammar) << grammar.error().message();
  return grammar.value_or(nullptr);
}

inline std::string refusal_of(std::string_view text) {
  const auto grammar = Grammar::parse(text);
  return grammar ? "taken" : grammar.error().message();
}

inline bool matches(const std::shared_ptr<const Grammar>& grammar, std::string_view text,
                    const GrammarAutomaton::Limits& limits = {}) {
  GrammarAutomaton automaton(grammar, limits);
  auto state = automaton.start();
  Utf8Decoder decoder;
  for (const char c : text)
    if (decoder.take(static_cast<unsigned char>(c)) == Utf8Decoder::Took::kCharacter)
      state = automaton.step(state, decoder.value());
  EXPECT_FALSE(automaton.is_over());
  return automaton.accepts(state);
}

inline bool matches(std::string_view grammar, std::string_view text) { return matches(grammar_of(grammar), text); }

}  // namespace spillway
