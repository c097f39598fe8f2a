// SPDX-License-Identifier: MIT
#include "grammar/grammar.h"

#include <gmock/gmock.h>

#include "grammar/grammar_text.h"

namespace spillway {
namespace {

using testing::HasSubstr;

std::string repeated(std::string_view text, size_t n) {
  std::string all;
  for (size_t i = 0; i < n; ++i) all += text;
  return all;
}

TEST(GrammarTest, TheNotationIsRead) {
  struct Case {
    std::string grammar, text;
    bool matches;
  };
  const Case cases[] = {
      {R"(root ::= "a" | "b" [0-9]+)", "a", true},
      {R"(root ::= "a" | "b" [0-9]+)", "b042", true},
      {R"(root ::= "a" | "b" [0-9]+)", "b", false},
      {R"(root ::= "a" | "b" [0-9]+)", "ab0", false},
      {"root ::= (\"a\"\n | \"b\" # a remark\n)* end\nend ::=\n \"!\"", "abba!", true},
      {"root ::= \"a\" |\n \"b\"\n\n# nothing else\n", "b", true},
      {"root ::= \"a\"\r\nb ::= \"b\"\r\n", "a", true},
      {"a-2 ::= \"x\"\nroot ::= a-2 a-2", "xx", true},
      {R"(root ::= [^a-c\]]+)", "xyz[", true},
      {R"(root ::= [^a-c\]]+)", "x]", false},
      {R"(root ::= [a-])", "-", true},
      {R"(root ::= [\x41-\x43é\U0001F600-\U0001F64F]+)", "ABCé😀", true},
      {R"(root ::= .)", "é", true},
      {R"(root ::= .)", "ab", false},
      {R"(root ::= "\"\\\n\t\r\-\[\]")", "\"\\\n\t\r-[]", true},
      {R"(root ::= "\u00e9")", "é", true},
      {R"(root ::= "")", "", true},
      {R"(root ::= | "a")", "", true},
      {R"(root ::= ())", "", true},
      {R"(root ::= "ab"{2})", "abab", true},
      {R"(root ::= "ab"{2})", "ab", false},
      {R"(root ::= "a"{2,})", "aaaaa", true},
      {R"(root ::= "a"{2,})", "a", false},
      {R"(root ::= "a"{0,3} "b")", "b", true},
      {R"(root ::= "a"{0,3} "b")", "aaab", true},
      {R"(root ::= "a"{0,3} "b")", "aaaab", false},
      {R"(root ::= "a"{ 1 , 2 })", "aa", true},
      {R"(root ::= "a"{0} "b")", "b", true},
      {R"(root ::= "a"{0} "b")", "ab", false},
      {R"(root ::= ("a"{2})*)", "aaaa", true},
      {R"(root ::= ("a"{2})*)", "aaa", false},
      {R"(root ::= "a"{2}*)", "aaa", false},
      {R"(root ::= "a"+*?)", "", true},
      {R"(root ::= "a"?+)", "aaa", true},
      {R"(root ::= "a"?{2,3})", "", true},
      {R"(root ::= "a"{1}{2}?)", "aa", true},
      {R"(root ::= "a"{1}{2}?)", "a", false},
      {R"(root ::= "a"{5000})", std::string(5000, 'a'), true},
      {R"(root ::= "a"{5000})", std::string(4999, 'a'), false},
      {"root ::= \"a\"\nroot ::= \"b\"", "b", true},  // the last one counts
      {R"g(root ::= "(" root ")" | "x")g", "(((x)))", true},
      {R"g(root ::= "(" root ")" | "x")g", "(((x))", false},
  };
  for (const Case& c : cases) EXPECT_EQ(matches(c.grammar, c.text), c.matches) << c.grammar << " and " << c.text;
}

TEST(GrammarTest, WhatIsNoGrammarIsRefusedWithThePlace) {
  EXPECT_EQ(refusal_of("root ::= \"a\n"), "the grammar, line 2, column 1: a text without its closing \"");
  EXPECT_EQ(refusal_of("root ::= \"a\"\nb = c"), "the grammar, line 2, column 3: ::= is expected");
  EXPECT_THAT(refusal_of("root ::= missing"), HasSubstr("no rule missing"));
  for (const char* text : {"",
                           "b ::= \"a\"",
                           "root ::= [a",
                           "root ::= []",
                           "root ::= [^]",
                           "root ::= [z-a]",
                           "root ::= (\"a\"",
                           "root ::= \"a\")",
                           "root ::= *",
                           "root ::= (|*)",
                           "root ::= \"a\"{",
                           "root ::= \"a\"{1",
                           "root ::= \"a\"{2,1}",
                           "root ::= \"a\"{x}",
                           "root ::= \"\\q\"",
                           "root ::= \"\\x4\"",
                           "root ::= \"\\U00110000\"",
                           "root ::= \"\\",
                           "root ::= \"a\" ::=",
                           "root ::= \"a\" %",
                           "root ::= <think>",
                           "root ::= <[1",
                           "root ::= <[99999999999]>",
                           "root ::= !",
                           "root ::= \"\xff\"",
                           "root ::= \"\xe2\x82"})
    EXPECT_NE(refusal_of(text), "taken") << text;
}

TEST(GrammarTest, LeftRecursionIsRefusedHoweverHidden) {
  for (const char* text :
       {"root ::= root \"a\"", "root ::= a\na ::= b \"x\"\nb ::= \"y\" | a", "root ::= e root \"a\"\ne ::= \"x\"?",
        "root ::= e* (f | root)\ne ::= f f\nf ::= \"\" | \"f\"", "root ::= \"a\"\nb ::= b | \"c\""})
    EXPECT_THAT(refusal_of(text), HasSubstr("left recursion")) << text;
  EXPECT_EQ(refusal_of("root ::= \"a\" root | e root2\ne ::= \"x\"?\nroot2 ::= \"b\" root | \"\""), "taken");
}

TEST(GrammarTest, SizeAndDepthAreBoundedWithoutRecursion) {
  EXPECT_EQ(refusal_of("root ::= " + std::string(200'000, '(') + "\"a\"" + std::string(200'000, ')')), "taken");
  EXPECT_THAT(refusal_of("root ::= " + std::string(200'000, '(')), HasSubstr("a ( without its )"));
  EXPECT_EQ(refusal_of("root ::= \"a\"" + std::string(1'000'000, '*')), "taken");
  EXPECT_EQ(refusal_of("root ::= \"a\"" + repeated("{1}+?{0,1}", 50'000)), "taken");
  EXPECT_THAT(refusal_of("root ::= \"a\"{1000}{1000}{1000}"), HasSubstr("too large a repetition"));
  EXPECT_THAT(refusal_of("root ::= \"a\"{4000000000}"), HasSubstr("too large a repetition"));
  EXPECT_THAT(refusal_of("root ::= \"a\"{99999999999999999999}"), HasSubstr("too large a repetition"));
  EXPECT_THAT(refusal_of("root ::= " + repeated("\"a\"{2}", 1) + repeated("{2}", 100)), HasSubstr("too large"));
  EXPECT_THAT(refusal_of("root ::= \"" + std::string(2'000'000, 'a') + "\""), HasSubstr("too large"));
  EXPECT_THAT(refusal_of(std::string(5'000'000, ' ')), HasSubstr("larger than 4 MiB"));
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 50'000; ++i) chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
  EXPECT_EQ(refusal_of(chain + "r50000 ::= \"a\""), "taken");
  EXPECT_THAT(refusal_of(chain + "r50000 ::= r7"), HasSubstr("left recursion"));
}

TEST(GrammarTest, CharactersThatAreToldApartAreOfDifferentClasses) {
  const auto grammar = grammar_of(R"(root ::= [a-f] "c" [^x] [\u0400-\u04FF])");
  const auto same = [&](char32_t a, char32_t b) { return grammar->class_of(a) == grammar->class_of(b); };
  EXPECT_TRUE(same(U'a', U'b'));
  EXPECT_FALSE(same(U'b', U'c'));
  EXPECT_TRUE(same(U'd', U'f'));
  EXPECT_FALSE(same(U'f', U'g'));
  EXPECT_TRUE(same(U'y', U'é'));
  EXPECT_FALSE(same(U'é', U'ж'));
  EXPECT_TRUE(same(U'中', U'日'));
}

}  // namespace
}  // namespace spillway
