// SPDX-License-Identifier: MIT
#include "chat/grammar.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "chat/gbnf.h"
#include "gbnf_matcher.h"

namespace spillway {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Admits {
  explicit Admits(const std::string& schema) {
    auto made = grammar_of_schema(schema);
    if (!made)
      ADD_FAILURE() << schema << ": " << made.error().message();
    else
      matcher = std::make_unique<GbnfMatcher>(*made);
  }
  bool operator()(const std::string& text) const { return matcher != nullptr && matcher->matches(text); }
  std::unique_ptr<GbnfMatcher> matcher;
};

void expect(const std::string& schema, const std::vector<std::string>& good, const std::vector<std::string>& bad) {
  const Admits admits(schema);
  for (const std::string& text : good) EXPECT_TRUE(admits(text)) << schema << " should admit " << text;
  for (const std::string& text : bad) EXPECT_FALSE(admits(text)) << schema << " should refuse " << text;
}

std::string refusal(const std::string& schema) {
  const auto made = grammar_of_schema(schema);
  return made ? "made: " + *made : std::string(code_name(made.error().code())) + ": " + made.error().message();
}

TEST(GrammarTest, Types) {
  expect(R"({"type":"string"})", {R"("")", R"("a é \n \u00e9 😀")"},
         {"a", R"("a)", "\"\n\"", R"("\x")", R"("\ud800")", "1"});
  expect(R"({"type":"integer"})", {"0", "-1", "1234567890123456"}, {"01", "1.0", "-", "+1", "1e3", ""});
  expect(R"({"type":"number"})", {"0", "-1.5", "1e5", "2.25E-10"}, {".5", "1.", "01", "NaN", "0x1"});
  expect(R"({"type":"boolean"})", {"true", "false"}, {"True", "null", "\"true\""});
  expect(R"({"type":["null","boolean"]})", {"null", "true"}, {"0"});
  expect(R"({"type":"object"})", {"{}", R"({"a": [1, {"b": null}]})", "{\n  \"a\": 1\n}"},
         {"[]", "{a: 1}", R"({"a": 1,})"});
  expect(R"({"type":"array"})", {"[]", "[1, \"a\", []]"}, {"[1,]", "{}"});
  expect("true", {"1", "{}", "[true]"}, {"", "x"});
  expect("{}", {"1", "{}"}, {"x"});
}

TEST(GrammarTest, EnumAndConst) {
  expect(R"({"enum":["a\"b", 1, null, {"x": [1]}]})", {R"("a\"b")", "1", "null", R"({"x":[1]})"},
         {"\"a\"", "2", "true"});
  expect(R"({"const":"é"})", {"\"é\""}, {"\"e\"", "é"});
  expect(R"({"type":"string","enum":["a",1]})", {"\"a\""}, {"1"});
}

TEST(GrammarTest, PropertiesComeInOrderAndRequiredOnesAreThere) {
  const std::string schema =
      R"({"type":"object","required":["b"],"properties":{"a":{"type":"integer"},"b":{"type":"boolean"},"c":{"type":"null"}}})";
  expect(schema,
         {R"({"a": 1, "b": true, "c": null})", R"({"b":true})", R"({"b": true, "c": null})", "{ \"a\":1, \"b\":false}"},
         {"{}", R"({"a": 1})", R"({"b": true, "a": 1})", R"({"b": true, "d": 1})", R"({"a": 1, "b": true,})",
          R"({"a": true, "b": true})", R"({,"b": true})"});
  expect(R"({"properties":{"a":{},"b":{}}})", {"{}", R"({"a":1})", R"({"b":1})", R"({"a":1,"b":[]})"},
         {R"({"c":1})", R"({"b":1,"a":1})"});
  expect(R"({"required":["x"]})", {R"({"x": 1})"}, {"{}", R"({"y": 1})"});
}

TEST(GrammarTest, AdditionalPropertiesHaveOtherNames) {
  expect(
      R"({"type":"object","properties":{"ab":{"type":"integer"},"abc":{"type":"null"}},"additionalProperties":{"type":"string"}})",
      {R"({"ab": 1, "x": "y"})", R"({"a": "y", "abd": "z"})", R"({"": "y"})", R"({"abcd": "y"})", R"({"é": "y"})",
       "{}"},
      {R"({"ab": "y"})", R"({"abc": "y"})", R"({"x": 1})", R"({"a\u0062": "y"})"});
  expect(R"({"type":"object","additionalProperties":{"type":"integer"}})", {"{}", R"({"a": 1, "b": 2})"},
         {R"({"a": "x"})"});
  expect(R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"a": 1})"});
}

TEST(GrammarTest, Arrays) {
  expect(R"({"items":{"type":"integer"},"minItems":1,"maxItems":3})", {"[1]", "[1, 2, 3]"},
         {"[]", "[1,2,3,4]", "[\"a\"]"});
  expect(R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":{"type":"null"}})",
         {"[]", "[1]", R"([1, "a"])", R"([1, "a", null, null])"}, {R"(["a"])", R"([1, "a", 2])", "[1, null]"});
  expect(R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":2})", {R"([1,"a"])"},
         {"[1]", R"([1,"a",1])"});
  expect(R"({"type":"array","items":false})", {"[]"}, {"[1]"});
  expect(R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"});
}

TEST(GrammarTest, StringsOfALengthAPatternOrAFormat) {
  expect(R"({"minLength":2,"maxLength":3})", {"\"ab\"", "\"é😀\\n\""}, {"\"a\"", "\"abcd\""});
  expect(R"({"pattern":"^[a-c]+\\d{2,3}$"})", {"\"ab12\"", "\"c123\""}, {"\"d12\"", "\"a1\"", "\"a1234\"", "\"xa12\""});
  expect(R"({"pattern":"b|^c$"})", {"\"abc\"", "\"c\""}, {"\"ac\"", "\"\""});
  expect(R"({"pattern":"^(?:x|y\\.)?[^a-z\"]\\w*$"})", {"\"xA_1\"", "\"y.Z\"", "\"Q\""},
         {"\"xa\"", "\"y\"", "\"y\\\"\""});
  expect(R"({"pattern":"^\"\\\\\\s$"})", {R"("\"\\ ")", R"("\"\\\n")"}, {R"("\"\\")"});
  expect(R"({"format":"date"})", {"\"2026-02-28\""}, {"\"2026-13-01\"", "\"26-01-01\""});
  expect(R"({"format":"date-time"})", {"\"2026-02-28T23:59:59.5Z\"", "\"2026-02-28T00:00:00+01:00\""},
         {"\"2026-02-28\"", "\"2026-02-28T24:00:00Z\""});
  expect(R"({"format":"time"})", {"\"01:02:03Z\""}, {"\"1:02:03Z\""});
  expect(R"({"format":"uuid"})", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""});
}

// As JSON writes it.
std::string quoted(const std::string& text) { return json(text).dump(); }

TEST(GrammarTest, PatternsAdmitWhatEcma262SaysTheyMatch) {
  using std::string_literals::operator""s;
  struct Pattern {
    std::string text;
    std::vector<std::string> good, bad;
  };
  for (const Pattern& c : {
           // Anchors at the ends of groups at the ends.
           Pattern{"^(x$|y)$", {"x", "y"}, {"", "xy", "ax", "xa"}},
           Pattern{"^(a|b$)", {"a", "b", "ac"}, {"ba", "ca"}},
           Pattern{"(^|,)a(,|$)", {"a", "a,", ",a", "b,a,b", "a,b"}, {"ba", "ab", "", ","}},
           Pattern{"((^|-)x|y)(z$)", {"xz", "a-xz", "ayz"}, {"axz", "xza"}},
           Pattern{"^^(?:a|^b$)$$", {"a", "b"}, {"ab", ""}},
           // Control characters.
           Pattern{R"(^a\u0001{3}$)", {"a\1\1\1"}, {"a", "a\1\1", "a111"}},
           Pattern{R"(^\0\x01\cA\v$)", {"\0\1\1\v"s}, {"", "\v", "\0"s}},
           Pattern{R"(^[\x00-\x1f]$)", {"\0"s, "\n", "\b", "\x1f"}, {"", " ", "a"}},
           Pattern{R"(^[\b\t]\n\r\f$)", {"\b\n\r\f", "\t\n\r\f"}, {"b\n\r\f", ""}},
           Pattern{R"(^[ -~]$)", {"\"", "\\", "a"}, {"\n", "\x7f", "é"}},
           Pattern{R"(^[^a]\D\W\S.$)", {"bb-cc"}, {"ab-cc", "b1-cc", "bbbcc", "bb- c"}},
           Pattern{R"(^\S.$)", {"ab", "éé"}, {"\u00a0b", "a\u2028", "a\n"}},
           Pattern{R"(^\s$)", {" ", "\n", "\v", "\u00a0", "\ufeff"}, {"a", "", "\u200b"}},
           // Pairs of surrogates.
           Pattern{R"(^\ud83d\ude00{2}$)", {"😀😀"}, {"😀", "😁😁"}},
           Pattern{R"(^[\ud83d\ude00-\u{1F602}]\u{61}$)", {"😀a", "😂a"}, {"😃a", "a"}},
           Pattern{"^[^😀]$", {"a", "😁"}, {"😀", ""}},
           // Classes.
           Pattern{"^[\\d-x]$", {"5", "-", "x"}, {"a", "w"}},
           Pattern{"^[\\d-a-z]$", {"5", "-", "a", "z"}, {"b", "y"}},
           Pattern{"^[a-\\d]$", {"5", "-", "a"}, {"b"}},
           Pattern{"^[-a][a-]$", {"--", "aa"}, {"b-"}},
           Pattern{"^[\\s\\S]$", {"a", "\n", "é"}, {"", "ab"}},
           Pattern{"^[\\W_]$", {"_", "-", "é"}, {"a", "1"}},
           Pattern{"^[^\\W]$", {"_", "a", "1"}, {"-"}},
           Pattern{"^[^]$", {"a", "]", "é"}, {"", "aa"}},
           Pattern{R"(^[\]\^][.$]$)", {"].", "^$"}, {"a.", "]a"}},
           // Counts, and what is none.
           Pattern{"^(?:a|bc){2}$", {"abc", "bca", "aa"}, {"a", "abcc"}},
           Pattern{"^a{2,}b{0}c??$", {"aa", "aaac"}, {"a", "aab"}},
           Pattern{"^a{,2}{x}$", {"a{,2}{x}"}, {"", "aa"}},
           Pattern{"^]{2}}$", {"]]}"}, {"]}"}},
           // Escapes and groups.
           Pattern{R"(^\/\-\.\é\"$)", {"/-.é\""}, {"/-aé\""}},
           Pattern{"^(?<year>\\d{2})(?:-)()(|x)$", {"26-", "26-x"}, {"26", "year-"}},
       }) {
    std::vector<std::string> good, bad;
    for (const std::string& text : c.good) good.push_back(quoted(text));
    for (const std::string& text : c.bad) bad.push_back(quoted(text));
    expect(json{{"pattern", c.text}}.dump(), good, bad);
  }
  expect(R"({"pattern":"^\\x7f$"})", {R"("\u007f")"}, {"\"\x7f\"", "\"\""});  // never as it is
}

TEST(GrammarTest, PatternsThatAreValidAndCannotBeExpressedAreUnsupportedAndOthersInvalid) {
  for (const char* pattern :
       {"a(^b)",    "(a$)b",        "(^a)?",   "(?:a|$)*", "a^",        "$a",        "\\bx",   "\\Bx",
        "(?=a)",    "(?!a)",        "(?<=a)",  "(?<!a)",   "(?i:a)",    "(a)\\1",    "\\k<n>", "\\p{L}",
        "[\\p{L}]", "\\ud83d",      "\\ude00", "\\ud83da", "[\\ud83d]", "\\u{d83d}", "[]",     "[^\\s\\S]",
        "\\00",     "\\c1",         "\\x1",    "\\u12",    "\\u{}",     "\\Z",       "[\\B]",  "[^\\x20-\\u{10ffff}]",
        "a{1001}",  "a{9999999999}"}) {
    const auto made = grammar_of_schema(json{{"pattern", pattern}}.dump());
    ASSERT_FALSE(made) << pattern << "\n" << *made;
    EXPECT_EQ(made.error().code(), Code::kUnsupported) << pattern << ": " << made.error().message();
  }
  for (const char* pattern : {"(", "(a", "a)", "[a", "\\", "*a", "^*", "a**", "a{1}{2}", "{1}", "a{2,1}", "[b-a]"}) {
    const auto made = grammar_of_schema(json{{"pattern", pattern}}.dump());
    ASSERT_FALSE(made) << pattern << "\n" << *made;
    EXPECT_EQ(made.error().code(), Code::kInvalidArgument) << pattern << ": " << made.error().message();
  }
}

TEST(GrammarTest, BoundsOfNumbers) {
  expect(R"({"type":"number","minimum":0,"maximum":1})", {"0", "1", "0.5", "1.00", "0.0"},
         {"-0.1", "1.01", "2", "1e3"});
  expect(R"({"type":"number","exclusiveMinimum":-2,"exclusiveMaximum":2})", {"-1.99", "0", "1.999", "1"},
         {"-2", "2", "2.0", "-2.5"});
  expect(R"({"type":"number","exclusiveMinimum":0})", {"0.1", "1", "99.5"}, {"0", "0.0", "-1"});
  expect(R"({"minimum":-5,"exclusiveMinimum":true,"type":"integer"})", {"-4", "0", "100"}, {"-5", "-6"});
  expect(R"({"type":"integer","minimum":1.5,"maximum":3.5})", {"2", "3"}, {"1", "4"});
}

TEST(GrammarTest, IntegerRangesAreExact) {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const int64_t span = round < 20 ? 30 : 3000;
    int64_t low = static_cast<int64_t>(random() % (2 * span)) - span,
            high = static_cast<int64_t>(random() % (2 * span)) - span;
    if (low > high) std::swap(low, high);
    GbnfMatcher matcher("root ::= " + gbnf_integers(low, high) + "\n");
    for (int64_t n = -span - 150; n <= span + 150; n += span > 100 ? 7 : 1)
      EXPECT_EQ(matcher.matches(std::to_string(n)), low <= n && n <= high) << low << ".." << high << ": " << n;
    for (const int64_t edge : {low - 1, low, high, high + 1})
      EXPECT_EQ(matcher.matches(std::to_string(edge)), low <= edge && edge <= high)
          << low << ".." << high << ": " << edge;
    EXPECT_FALSE(matcher.matches("-0"));
  }
}

TEST(GrammarTest, Combinations) {
  expect(R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})", {"1", "\"a\""}, {"\"ab\"", "null"});
  expect(
      R"({"type":"object","properties":{"k":{"type":"string"}},"required":["k"],"anyOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"null"}},"required":["b"]}]})",
      {R"({"k": "x", "a": 1})", R"({"k": "x", "b": null})"}, {R"({"k": "x"})", R"({"a": 1})"});
  expect(R"({"allOf":[{"type":"integer","minimum":2},{"maximum":4},{"type":"number"}]})", {"2", "4"},
         {"1", "5", "2.5"});
  expect(
      R"({"allOf":[{"$ref":"#/$defs/a"},{"properties":{"y":{"type":"null"}}}],"$defs":{"a":{"properties":{"x":{"type":"integer"}},"required":["x"]}}})",
      {R"({"x": 1, "y": null})", R"({"x": 1})"}, {"{}", R"({"y": null})"});
  expect(
      R"({"oneOf":[{"properties":{"t":{"const":"a"}},"required":["t"]},{"properties":{"t":{"const":"b"},"n":{"type":"integer"}},"required":["t","n"]}]})",
      {R"({"t": "a"})", R"({"t": "b", "n": 1})"}, {R"({"t": "b"})", R"({"t": "c"})"});
}

TEST(GrammarTest, References) {
  expect(
      R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/node"})",
      {R"({"v": 1, "next": null})", R"({"v": 1, "next": {"v": 2, "next": null}})"},
      {R"({"v": 1})", R"({"v": 1, "next": {"v": 2}})"});
  expect(R"({"type":"object","properties":{"kids":{"type":"array","items":{"$ref":"#"}}}})",
         {"{}", R"({"kids": [{}, {"kids": []}]})"}, {R"({"kids": [1]})"});
  expect(
      R"({"definitions":{"a b":{"type":"null"}},"properties":{"x":{"$ref":"#/definitions/a%20b"}},"required":["x"]})",
      {R"({"x":null})"}, {R"({"x":1})"});
  expect(
      R"({"properties":{"x":{"$ref":"#/$defs/s","maxLength":2}},"required":["x"],"$defs":{"s":{"type":"string","minLength":1}}})",
      {R"({"x":"ab"})"}, {R"({"x":""})", R"({"x":"abc"})"});
}

TEST(GrammarTest, WhatCannotBeSaidIsRefusedByName) {
  EXPECT_THAT(refusal(R"({"type":"array","uniqueItems":true})"),
              HasSubstr("unsupported: JSON schema, #: a grammar cannot express uniqueItems"));
  EXPECT_THAT(refusal(R"({"properties":{"x":{"not":{}}}})"), HasSubstr("#/properties/x: a grammar cannot express not"));
  EXPECT_THAT(refusal(R"({"$ref":"https://example.org/x"})"), HasSubstr("leads out of the schema"));
  EXPECT_THAT(refusal(R"({"$ref":"#/$defs/x"})"), HasSubstr("leads nowhere"));
  EXPECT_THAT(refusal(R"({"$ref":"#"})"), HasSubstr("leads to itself"));
  EXPECT_THAT(refusal(R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})"), HasSubstr("leads to itself"));
  EXPECT_THAT(refusal(R"({"type":"number","multipleOf":0.1})"), HasSubstr("multipleOf"));
  EXPECT_THAT(refusal(R"({"type":"number","minimum":0.5})"), HasSubstr("fraction"));
  EXPECT_THAT(refusal(R"x({"pattern":"(?=a)"})x"), HasSubstr("look-around"));
  EXPECT_THAT(refusal(R"({"pattern":"a","minLength":3})"), HasSubstr("pattern and a length"));
}

TEST(GrammarTest, AFormatThatNobodyKnowsIsNamedAndNoReasonToRefuse) {
  for (const char* schema : {R"({"type":"string","format":"email"})", R"({"format":"email","maxLength":9})",
                             R"({"type":"string","format":"email","pattern":"^[a-z]+@[a-z]+$"})"}) {
    SchemaWork work;
    std::set<std::string> left_out;
    EXPECT_TRUE(grammar_of_schema(schema)) << schema;
    EXPECT_TRUE(grammar_of_schema(schema, &work, &left_out)) << schema;
    EXPECT_EQ(left_out, std::set<std::string>{"format"}) << schema;
  }
}

// What is left of a schema whose caller checks the rest himself: what `left_out` names is what was not expressed.
TEST(GrammarTest, WhatCannotBeSaidIsLeftToTheCallerWhoAsksForThat) {
  struct Left {
    std::string schema, admits, refuses;
    std::set<std::string> left_out;
  };
  for (const Left& c : {
           Left{R"({"type":"string","pattern":"^(?!x)[a-z]+$","maxLength":3})", R"("xyz")", R"("abcd")", {"pattern"}},
           Left{R"({"type":"string","pattern":"^[a-z]+$","maxLength":3})", R"("abcd")", R"("A")", {"maxLength"}},
           Left{R"({"type":"string","pattern":"^\\p{Lu}","format":"date"})", R"("2026-11-28")", R"("x")", {}},
           Left{R"({"type":"number","minimum":0.5,"maximum":2.5})", "0.2", "4", {"minimum", "maximum"}},
           Left{R"({"type":"integer","minimum":0.5})", "1", "0", {}},
           Left{R"({"type":"integer","multipleOf":10})", "15", "1.5", {"multipleOf"}},
           Left{R"({"type":"number","multipleOf":5})", "7", "1.5", {"multipleOf"}},
           Left{R"({"type":"number","multipleOf":0.5})", "1.3", "true", {"multipleOf"}},
           Left{R"({"type":"array","items":{"type":"integer"},"uniqueItems":true})",
                "[1, 1]",
                "[true]",
                {"uniqueItems"}},
           Left{R"({"type":"object","properties":{"a":{"not":{}}},"required":["a"],"minProperties":2})",
                R"({"a": 1})",
                "{}",
                {"not", "minProperties"}},
           Left{R"({"type":"object","propertyNames":{"maxLength":2},"patternProperties":{"^x":{}}})",
                R"({"abc": 1})",
                "1",
                {"propertyNames", "patternProperties"}},
       }) {
    SchemaWork work;
    std::set<std::string> left_out;
    const auto grammar = grammar_of_schema(c.schema, &work, &left_out);
    ASSERT_TRUE(grammar) << c.schema << ": " << grammar.error().message();
    EXPECT_EQ(left_out, c.left_out) << c.schema;
    EXPECT_TRUE(GbnfMatcher(*grammar).matches(c.admits)) << c.schema;
    EXPECT_FALSE(GbnfMatcher(*grammar).matches(c.refuses)) << c.schema;
    // Without being asked to, nothing is left out.
    EXPECT_EQ(grammar_of_schema(c.schema).has_value(), left_out.empty() && !c.schema.ends_with("\"date\"}"))
        << c.schema;
  }
}

TEST(GrammarTest, WhatNobodyWritesByHandIsNotLeftOut) {
  const std::string brackets = std::string(20000, '(') + "a" + std::string(20000, ')');
  for (const std::string& schema : {R"({"type":"string","pattern":")" + brackets + "\"}",
                                    std::string(R"({"type":"array","minItems":1000000000000000})")}) {
    SchemaWork work;
    std::set<std::string> left_out;
    EXPECT_FALSE(grammar_of_schema(schema, &work, &left_out)) << schema.substr(0, 60);
    EXPECT_THAT(left_out, testing::IsEmpty());
  }
}

TEST(GrammarTest, WhatIsNoSchemaIsInvalid) {
  for (const char* schema : {"",
                             "{",
                             "1",
                             "[]",
                             "false",
                             R"({"type":"int"})",
                             R"({"type":5})",
                             R"({"enum":3})",
                             R"({"enum":[]})",
                             R"({"properties":[]})",
                             R"({"minItems":-1})",
                             R"({"minItems":2,"maxItems":1})",
                             R"x({"pattern":"("})x",
                             R"({"pattern":"[b-a]"})",
                             R"({"required":[1]})",
                             R"({"anyOf":[]})",
                             R"({"allOf":[{"type":"string"},{"type":"null"}]})",
                             R"({"type":"integer","minimum":5,"maximum":4})",
                             R"({"minLength":"x"})",
                             R"({"$ref":1})"}) {
    const auto made = grammar_of_schema(schema);
    ASSERT_FALSE(made) << schema << "\n" << *made;
    EXPECT_EQ(made.error().code(), Code::kInvalidArgument) << schema << ": " << made.error().message();
  }
}

// What holds a part writes it more than once.
TEST(GrammarTest, AGrammarGrowsWithItsSchemaAndNotFasterHoweverThatIsNested) {
  std::string lists, optionals;
  for (int i = 0; i < 60; ++i) lists += R"({"type":"array","items":)";
  EXPECT_LT(grammar_of_schema(lists + R"({"type":"integer"})" + std::string(60, '}')).value().size(), 20'000u);
  for (int i = 0; i < 20; ++i) optionals += R"({"type":"array","prefixItems":[{"type":"string"}],"items":)";
  EXPECT_LT(grammar_of_schema(optionals + "true" + std::string(20, '}')).value().size(), 20'000u);
  std::string tuple = R"({"type":"array","prefixItems":[{})";
  for (int i = 0; i < 50'000; ++i) tuple += ",{}";
  EXPECT_LT(grammar_of_schema(tuple + "]}").value().size(), 2'000'000u);
}

TEST(GrammarTest, DepthAndSizeAreBounded) {
  std::string deep, many = R"({"type":"object","properties":{)";
  for (int i = 0; i < 5000; ++i) deep += R"({"items":)";
  EXPECT_THAT(refusal(deep + "true" + std::string(5000, '}')), HasSubstr("nested too deeply"));
  EXPECT_THAT(refusal(std::string(100000, '[')), HasSubstr("invalid argument"));
  for (int i = 0; i < 2000; ++i) many += fmt::format(R"({}"p{}":{{"type":"integer"}})", i == 0 ? "" : ",", i);
  const auto made = grammar_of_schema(many + "}}");
  ASSERT_TRUE(made);
  EXPECT_LT(made->size(), 500'000u);
  std::string bomb = R"({"$defs":{"d0":{"type":"string","minLength":1})";
  for (int i = 1; i < 40; ++i)
    bomb += fmt::format(
        R"(,"d{0}":{{"anyOf":[{{"$ref":"#/$defs/d{1}","minLength":2}},{{"$ref":"#/$defs/d{1}","minLength":3}}]}})", i,
        i - 1);
  EXPECT_THAT(refusal(bomb + R"(},"$ref":"#/$defs/d39"})"), HasSubstr("too large"));
}

// Beyond what the process took before.
uint64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) << 10;
}

TEST(GrammarTest, WhatIsDeepDownIsNotCopiedAtEachLevel) {
  std::string much;
  for (int i = 0; i < 300'000; ++i) much += i == 0 ? "{}" : ",{}";
  const std::pair<std::string, std::string> kLevels[] = {{R"({"properties":{"a":)", "}}"},
                                                         {R"({"items":)", "}"},
                                                         {R"({"prefixItems":[)", "]}"},
                                                         {R"({"additionalProperties":)", "}"}};
  const uint64_t before = peak_bytes();
  for (const auto& [open, close] : kLevels) {
    std::string schema = R"({"type":"integer","default":[)" + much + "]}";
    for (int i = 0; i < 50; ++i) schema = open + schema + close;
    EXPECT_TRUE(grammar_of_schema(schema)) << open;
    EXPECT_TRUE(grammar_of_schema(R"({"allOf":[)" + schema + "," + schema + "]}")) << open;
  }
  EXPECT_LT(peak_bytes() - before, 500u << 20);
}

// What a small schema says is looked at, or copied, so many times that it would take minutes or all memory.
TEST(GrammarTest, SmallSchemasThatMakeMuchWorkAreRefusedBeforeItIsDone) {
  const auto list = [](size_t n, const std::string& one) {
    std::string all = one;
    for (size_t i = 1; i < n; ++i) all += "," + one;
    return "[" + all + "]";
  };
  std::string properties;
  for (int i = 0; i < 5000; ++i) properties += fmt::format(R"({}"k{}":{{}})", i == 0 ? "" : ",", i);
  const std::string others = R"({"additionalProperties":{"enum":)" + list(5000, "0") + "}}";
  const std::string listed = R"({"properties":{)" + properties + "}}";
  for (const std::string& parts : {others + "," + listed, listed + "," + others})
    EXPECT_THAT(refusal(R"({"allOf":[)" + parts + "]}"), HasSubstr("combined too often"));
  EXPECT_THAT(refusal(R"({"anyOf":[)" + listed + R"(],"additionalProperties":{"enum":)" + list(5000, "0") + "}}"),
              HasSubstr("combined too often"));
  const std::string names = list(1000, "\"a\"");
  std::string required;
  for (int i = 0; i < 5000; ++i) required += fmt::format(R"({}"k{}")", i == 0 ? "" : ",", i);
  EXPECT_THAT(refusal(R"({"required":[)" + required + R"(],"additionalProperties":{"enum":)" + list(5000, "0") + "}}"),
              testing::AnyOf(HasSubstr("too large"), HasSubstr("combined too often")));
  EXPECT_THAT(refusal(R"({"type":)" + names + R"(,"enum":[1]})"), HasSubstr("type lists too many"));
  EXPECT_THAT(refusal(R"({"type":[)" + names + R"(],"enum":[1]})"), HasSubstr("there is no type"));
  EXPECT_THAT(refusal(R"({"type":)" + list(100, "\"a\"") + R"(,"enum":)" + list(100'000, "1") + "}"),
              HasSubstr("combined too often"));
  EXPECT_THAT(refusal(R"({"description":")" + std::string(1 << 20, 'x') + R"(","allOf":)" + list(1000, "{}") + "}"),
              HasSubstr("combined too often"));
  EXPECT_THAT(refusal(R"({"type":"string","pattern":"^)" + std::string(100'000, '.') + "$\"}"),
              HasSubstr("a pattern of more than 64 KiB"));
  EXPECT_THAT(refusal(R"({"type":)" + list(100, "\"string\"") + R"(,"pattern":"^)" + std::string(60'000, '.') + "$\"}"),
              testing::AnyOf(HasSubstr("too large"), HasSubstr("combined too often")));
  EXPECT_TRUE(grammar_of_schema(R"({"type":["string","integer"],"enum":)" + list(10'000, "7") + "}"));
}

// Schemas made at random, instances made from them and by changing those: a plain validator is the judge.
class RandomSchemas {
 public:
  explicit RandomSchemas(unsigned seed) : random_(seed) {}

  json schema(int depth) {
    switch (pick(depth > 0 ? 8 : 5)) {
      case 0:
        return {{"type", "boolean"}};
      case 1: {
        const int low = static_cast<int>(pick(40)) - 20;
        return {{"type", "integer"}, {"minimum", low}, {"maximum", low + static_cast<int>(pick(30))}};
      }
      case 2:
        return {{"type", "string"}, {"minLength", pick(2)}, {"maxLength", 1 + pick(3)}};
      case 3:
        return {{"enum", {"a", 1, nullptr}}};
      case 4:
        return {{"type", "number"}, {"minimum", 0}, {"exclusiveMaximum", 1 + pick(20)}};
      case 5:
        return {{"type", "array"}, {"items", schema(depth - 1)}, {"minItems", pick(2)}, {"maxItems", 1 + pick(3)}};
      case 6:
        return {{"anyOf", {schema(depth - 1), schema(depth - 1)}}};
      default:
        break;
    }
    json object = {{"type", "object"}, {"properties", json::object()}, {"required", json::array()}};
    for (const char* name : {"p", "q", "r"}) {
      if (pick(3) == 0) continue;
      object["properties"][name] = schema(depth - 1);
      if (pick(2) == 0) object["required"].push_back(name);
    }
    if (pick(2) == 0)
      object["additionalProperties"] = schema(0);
    else
      object["additionalProperties"] = false;
    return object;
  }

  json instance(const json& schema) {
    if (pick(12) == 0)
      return std::vector<json>{"a", 1, nullptr, true, -3, 1.5, json::array(), json::object(), "abcd"}[pick(9)];
    if (schema.contains("enum")) return schema["enum"][pick(3)];
    if (schema.contains("anyOf")) return instance(schema["anyOf"][pick(2)]);
    if (schema["type"] == "boolean") return pick(2) == 0;
    if (schema["type"] == "integer") return schema["minimum"].get<int>() + static_cast<int>(pick(32)) - 1;
    if (schema["type"] == "number") return static_cast<double>(pick(90)) / 4 - 0.5;
    if (schema["type"] == "string") return std::string(pick(5), 'x');
    if (schema["type"] == "array") {
      json list = json::array();
      for (size_t n = pick(5); n > 0; --n) list.push_back(instance(schema["items"]));
      return list;
    }
    json object = json::object();
    for (const auto& [name, value] : schema["properties"].items())
      if (pick(4) != 0) object[name] = instance(value);
    if (pick(3) == 0)
      object["z"] = schema["additionalProperties"].is_object() ? instance(schema["additionalProperties"]) : json(1);
    return object;
  }

  static bool admits(const json& schema, const json& value) {
    if (schema == json(false)) return false;
    if (schema.contains("enum"))
      return std::find(schema["enum"].begin(), schema["enum"].end(), value) != schema["enum"].end();
    if (schema.contains("anyOf")) return admits(schema["anyOf"][0], value) || admits(schema["anyOf"][1], value);
    if (schema["type"] == "boolean") return value.is_boolean();
    if (schema["type"] == "integer")
      return value.is_number_integer() && value >= schema["minimum"] && value <= schema["maximum"];
    if (schema["type"] == "number")
      return value.is_number() && value >= schema["minimum"] && value < schema["exclusiveMaximum"];
    if (schema["type"] == "string")
      return value.is_string() && value.get<std::string>().size() >= schema["minLength"] &&
             value.get<std::string>().size() <= schema["maxLength"];
    if (schema["type"] == "array")
      return value.is_array() && value.size() >= schema["minItems"] && value.size() <= schema["maxItems"] &&
             std::all_of(value.begin(), value.end(), [&](const json& item) { return admits(schema["items"], item); });
    if (!value.is_object()) return false;
    for (const json& name : schema["required"])
      if (!value.contains(name)) return false;
    for (const auto& [name, part] : value.items()) {
      const bool known = schema["properties"].contains(name);
      if (!admits(known ? schema["properties"][name] : schema["additionalProperties"], part)) return false;
    }
    return true;
  }

  size_t pick(size_t n) { return random_() % n; }

 private:
  std::mt19937 random_;
};

TEST(GrammarTest, RandomSchemasAdmitExactlyTheirInstances) {
  RandomSchemas made(5);
  size_t admitted = 0, refused = 0;
  for (int round = 0; round < 400; ++round) {
    const json schema = made.schema(3);
    const auto grammar = grammar_of_schema(schema.dump());
    ASSERT_TRUE(grammar) << schema << grammar.error().message();
    GbnfMatcher matcher(*grammar);
    for (int n = 0; n < 20; ++n) {
      const json value = made.instance(schema);
      const bool right = RandomSchemas::admits(schema, value);
      (right ? admitted : refused) += 1;
      // Keys of value.dump() are sorted, as are those of the schema: the order is right.
      ASSERT_EQ(matcher.matches(value.dump()), right) << schema << "\n" << value << "\n" << *grammar;
    }
  }
  EXPECT_GT(admitted, 1000u);
  EXPECT_GT(refused, 1000u);
}

// What the JSON-Schema-Test-Suite calls invalid no grammar of ours admits; of what it calls valid, most is admitted
// where the schema can be expressed.
TEST(GrammarTest, AgreesWithTheJsonSchemaTestSuite) {
  const std::filesystem::path suite = SPILLWAY_JSON_SCHEMA_SUITE;
  if (!std::filesystem::exists(suite))
    GTEST_SKIP() << "no JSON-Schema-Test-Suite in " << suite << " (scripts/setup --tests)";
  size_t schemas = 0, expressed = 0, valid = 0, admitted = 0, invalid = 0;
  const auto check = [&](const nlohmann::ordered_json& group, const std::string& where) {
    ++schemas;
    const auto grammar = grammar_of_schema(group["schema"].dump());
    if (!grammar) return;
    ++expressed;
    GbnfMatcher matcher(*grammar);
    for (const auto& test : group["tests"]) {
      const std::string text = test["data"].dump();
      const bool matched = matcher.matches(text);
      if (test["valid"] == true) {
        ++valid;
        admitted += matched ? 1 : 0;
        continue;
      }
      ++invalid;
      EXPECT_FALSE(matched) << where << ", " << group["description"] << ", " << test["description"] << ": " << text
                            << "\n"
                            << group["schema"] << "\n"
                            << *grammar;
    }
  };
  for (const char* draft : {"draft4", "draft6", "draft7", "draft2020-12"}) {
    if (!std::filesystem::exists(suite / draft)) continue;  // an older suite
    for (const auto& entry : std::filesystem::directory_iterator(suite / draft)) {
      // grammar.h says that oneOf is read as anyOf.
      if (entry.path().extension() != ".json" || entry.path().stem() == "oneOf") continue;
      std::ifstream file(entry.path());
      for (const auto& group : nlohmann::ordered_json::parse(file)) check(group, entry.path().string());
    }
  }
  EXPECT_GT(schemas, 100u);
  EXPECT_GT(expressed, schemas / 3) << schemas;
  EXPECT_GT(invalid, 100u);
  EXPECT_GT(admitted, valid / 2) << valid;
}

}  // namespace
}  // namespace spillway
