// SPDX-License-Identifier: MIT
#include "grammar/grammar_automaton.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

#include "base/utf8.h"
#include "chat/gbnf_matcher.h"
#include "grammar/grammar_text.h"

namespace spillway {
namespace {

using testing::HasSubstr;

// Random grammars without left recursion: each rule begins with a character or names only later rules.
std::string random_expression(std::mt19937& random, int depth, size_t rule, size_t n_rules) {
  const auto pick = [&](size_t n) { return random() % n; };
  switch (depth <= 0 ? pick(3) : pick(7)) {
    case 0:
      return "\"" + std::string(1 + pick(2), static_cast<char>('a' + pick(2))) + "\"";
    case 1:
      return pick(2) == 0 ? "[a-b]" : "[^a]";
    case 2:
      return rule + 1 < n_rules ? "r" + std::to_string(rule + 1 + pick(n_rules - rule - 1)) : "\"c\"";
    case 3:
      return random_expression(random, depth - 1, rule, n_rules) + " " +
             random_expression(random, depth - 1, rule, n_rules);
    case 4:
      return "(" + random_expression(random, depth - 1, rule, n_rules) + " | " +
             random_expression(random, depth - 1, rule, n_rules) + ")";
    case 5: {
      static constexpr const char* kCounts[] = {"*", "+", "?", "{2}", "{0,2}", "{1,3}", "{2,}"};
      return "(" + random_expression(random, depth - 1, rule, n_rules) + ")" + kCounts[pick(7)];
    }
    default:
      return "(\"a\" r0 \"b\" | \"c\")";
  }
}

std::string random_grammar(std::mt19937& random) {
  constexpr size_t kRules = 4;
  std::string grammar = "root ::= r0\n";
  for (size_t rule = 0; rule < kRules; ++rule)
    grammar += "r" + std::to_string(rule) + " ::= " + random_expression(random, 3, rule, kRules) + "\n";
  return grammar;
}

TEST(GrammarAutomatonTest, AgreesWithASlowMatcherOnRandomGrammars) {
  for (uint32_t seed = 0; seed < 400; ++seed) {
    std::mt19937 random(seed);
    const std::string text = random_grammar(random);
    const auto grammar = grammar_of(text);
    ASSERT_TRUE(grammar) << text;
    GbnfMatcher slow(text);
    const auto agree = [&](const std::string& input) {
      if (valid_utf8(input) != input) return;
      ASSERT_EQ(matches(grammar, input), slow.matches(input)) << "seed " << seed << "\n" << text << "\n" << input;
    };
    for (int i = 0; i < 10; ++i) {
      std::string input = slow.sample(random, 4);
      if (input.size() > 60) continue;
      agree(input);
      if (!input.empty()) input.erase(random() % input.size(), 1);
      agree(input);
      agree(input + "a");
    }
    for (int i = 0; i < 20; ++i) {
      std::string input;
      for (size_t n = random() % 8; n > 0; --n) input += static_cast<char>('a' + random() % 3);
      agree(input);
    }
  }
}

TEST(GrammarAutomatonTest, WhatNestsIsFollowedAsDeepAsItGoes) {
  const auto grammar = grammar_of(R"g(root ::= "(" root ")" | "x")g");
  std::string deep(50'000, '(');
  deep += 'x';
  deep += std::string(50'000, ')');
  EXPECT_TRUE(matches(grammar, deep));
  EXPECT_FALSE(matches(grammar, deep.substr(1)));
}

TEST(GrammarAutomatonTest, ALongTextInALoopTakesNoMemory) {
  for (const char* text : {R"(root ::= "a" root | "b")", R"(root ::= ("a" | "b")*)", R"(root ::= x* x ::= "a")",
                           "root ::= x*\nx ::= y | \"b\"\ny ::= \"a\""}) {
    const auto parsed = Grammar::parse(text);
    if (!parsed) continue;
    GrammarAutomaton automaton(*parsed, {.items_max = 100, .memory_bytes_max = 20'000});
    auto state = automaton.start();
    for (int i = 0; i < 100'000; ++i) state = automaton.step(state, U'a');
    EXPECT_FALSE(automaton.is_over()) << text;
    EXPECT_NE(state, GrammarAutomaton::kDead) << text;
    EXPECT_LT(automaton.work(), 1000u) << "steps are remembered";
  }
}

TEST(GrammarAutomatonTest, AmbiguityThatIsPolynomialIsNoTrouble) {
  // 250 optional groups: as many places after each character, not as many stacks as there are ways to get there.
  const auto grammar = grammar_of(R"(root ::= (("a" | "b" | "c")?){250} "z")");
  EXPECT_TRUE(matches(grammar, std::string(200, 'a') + "z"));
  EXPECT_FALSE(matches(grammar, std::string(251, 'a') + "z"));
}

TEST(GrammarAutomatonTest, TooManyWaysToReadATextAreRefusedBeforehand) {
  std::string grammar = "root ::= r0\n";
  for (int i = 0; i < 40; ++i) {
    const std::string next = "r" + std::to_string(i + 1);
    grammar += "r" + std::to_string(i) + " ::= " + next + " \"x\" | " + next + " \"y\"\n";
  }
  grammar += "r40 ::= \"a\"\n";
  const auto parsed = grammar_of(grammar);
  const auto tried = GrammarAutomaton::try_out(parsed, {});
  ASSERT_FALSE(tried);
  EXPECT_EQ(tried.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(tried.error().message(), HasSubstr("too ambiguous"));
  GrammarAutomaton automaton(parsed, {});
  EXPECT_EQ(automaton.start(), GrammarAutomaton::kDead);
  EXPECT_TRUE(automaton.is_over());
  EXPECT_LE(automaton.work(), 30'000u);
  EXPECT_EQ(automaton.step(1, U'a'), GrammarAutomaton::kDead);

  // Three counted rules within each other: refused once a few characters show it.
  const auto nested = grammar_of("root ::= x{0,250}\nx ::= y{0,250}\ny ::= z{0,250}\nz ::= \"a\"?");
  EXPECT_FALSE(GrammarAutomaton::try_out(nested, {}));
}

// Characters that lead nowhere cost as much as others: two billion looks before this was bounded.
TEST(GrammarAutomatonTest, TryingOutIsBoundedWhereNothingLeadsOn) {
  std::string grammar = "y ::= [";
  const auto add = [&](uint32_t c) { grammar += fmt::format("\\U{:08X}", c); };
  for (uint32_t c = 0x10000; c < 0x10000 + 200'000; c += 2) add(c);
  grammar += "]\nx ::= [";
  for (uint32_t c = 0xE0000; c < 0xE0800; c += 2) add(c);
  grammar += "]\nroot ::= x \"0\"";
  for (int i = 1; i < 6000; ++i) grammar += " | x \"" + std::to_string(i) + "\"";
  EXPECT_TRUE(GrammarAutomaton::try_out(grammar_of(grammar + "\n"), {}));
}

TEST(GrammarAutomatonTest, AGrammarThatNothingSatisfiesIsRefused) {
  EXPECT_FALSE(GrammarAutomaton::try_out(grammar_of(R"(root ::= [\uD800-\uDFFF])"), {}));
  EXPECT_TRUE(GrammarAutomaton::try_out(grammar_of(R"(root ::= "\x00")"), {})) << "a character like any other";
  EXPECT_TRUE(GrammarAutomaton::try_out(grammar_of(R"(root ::= "")"), {}));
  EXPECT_TRUE(GrammarAutomaton::try_out(grammar_of(R"(root ::= <[7]>)"), {}));
}

TEST(GrammarAutomatonTest, ForgettingKeepsThePlaceInTheText) {
  const auto grammar = grammar_of(R"g(root ::= "(" root ")" | "[" root "]" | "x")g");
  GrammarAutomaton automaton(grammar, {.items_max = 100, .memory_bytes_max = 1 << 20, .memory_bytes_kept = 1000});
  auto state = automaton.start();
  std::string closing;
  for (int i = 0; i < 1000; ++i) {
    const bool round = i % 3 == 0;
    state = automaton.step(state, round ? U'(' : U'[');
    closing += round ? ')' : ']';
    if (automaton.remembers_much()) state = automaton.forget_others(state);
  }
  ASSERT_NE(state, GrammarAutomaton::kDead);
  state = automaton.step(state, U'x');
  for (size_t i = closing.size(); i-- > 0;) {
    EXPECT_EQ(automaton.step(state, closing[i] == ')' ? U']' : U')'), GrammarAutomaton::kDead);
    state = automaton.step(state, static_cast<char32_t>(closing[i]));
    if (automaton.remembers_much()) state = automaton.forget_others(state);
  }
  EXPECT_TRUE(automaton.accepts(state));
  EXPECT_FALSE(automaton.is_over());
}

TEST(GrammarAutomatonTest, ManyKindsOfCharactersAreToldApart) {
  std::string grammar = "root ::= (";
  for (int i = 0; i < 600; ++i)
    grammar += fmt::format("{}[\\u{:04X}] \"{}\"", i > 0 ? " | " : "", 0x4E00 + 2 * i, i % 10);
  const auto parsed = grammar_of(grammar + ")+");
  EXPECT_TRUE(matches(parsed,
                      "\u4E00"
                      "0"
                      "\u4E02"
                      "1"
                      "\u5208"
                      "6"));
  EXPECT_FALSE(matches(parsed,
                       "\u4E01"
                       "0"));
  EXPECT_FALSE(matches(parsed,
                       "\u5208"
                       "7"));
}

}  // namespace
}  // namespace spillway
