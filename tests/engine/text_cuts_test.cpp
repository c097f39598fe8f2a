// SPDX-License-Identifier: MIT
#include "engine/text_cuts.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

namespace spillway {
namespace {

using testing::ElementsAre;

// How libllama divides a text: longer special texts first, each from left to right in what is left of the text. "|" is
// behind each piece.
std::vector<std::string> pieces_as_libllama(const std::string& text, std::vector<SpecialText> specials, bool control) {
  std::stable_sort(specials.begin(), specials.end(),
                   [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  std::vector<std::pair<std::string, bool>> pieces = {{text, false}};  // and whether it is a token
  for (const SpecialText& special : specials) {
    if (special.is_control && !control) continue;
    std::vector<std::pair<std::string, bool>> next;
    for (auto& [piece, is_token] : pieces) {
      size_t begin = 0, at = 0;
      while (!is_token && (at = piece.find(special.text, begin)) != std::string::npos) {
        std::string before = piece.substr(begin, at - begin);
        begin = at + special.text.size();
        if (special.strips) {
          before.erase(before.find_last_not_of(" \n") + 1);
          while (begin < piece.size() && (piece[begin] == ' ' || piece[begin] == '\n')) ++begin;
        }
        if (!before.empty()) next.emplace_back(before, false);
        next.emplace_back(special.text, true);
      }
      if (begin < piece.size()) next.emplace_back(piece.substr(begin), is_token);
    }
    pieces = std::move(next);
  }
  std::vector<std::string> texts;
  for (const auto& [piece, is_token] : pieces) texts.push_back(piece + (is_token ? "!" : "|"));
  return texts;
}

TEST(TextCuts, AreBehindSpecialTextsThatNothingOverlaps) {
  const TextCuts cuts({{.text = "\n"}, {.text = "\n\n"}, {.text = "<a>", .is_control = true}});
  EXPECT_THAT(cuts.parts("one\ntwo\n\nthree", 1, true), ElementsAre("one\n", "two\n\n", "three"));
  EXPECT_THAT(cuts.parts("one\ntwo\n\nthree", 5, true), ElementsAre("one\ntwo\n\n", "three"));
  EXPECT_THAT(cuts.parts("x\n\n\ny\nz", 1, true), ElementsAre("x\n\n\ny\n", "z"))
      << "which two of three is not certain";
  EXPECT_THAT(cuts.parts("x<a>y", 1, true), ElementsAre("x<a>", "y"));
  EXPECT_THAT(cuts.parts("x<a>y", 1, false), ElementsAre("x<a>y"));
  EXPECT_THAT(cuts.parts("no mark in it", 1, true), ElementsAre("no mark in it"));
  EXPECT_THAT(cuts.parts("", 1, true), ElementsAre(""));
}

TEST(TextCuts, PartsAreDividedAsTheWholeIs) {
  std::mt19937 random(20261129);
  const auto some = [&](size_t n) { return random() % n; };
  const auto text_of = [&](size_t length) {
    std::string text;
    for (; length > 0; --length) text += "ab \n<"[some(5)];
    return text;
  };
  size_t n_cut = 0;
  for (int round = 0; round < 3000; ++round) {
    const bool strips = round % 3 == 0;
    std::vector<SpecialText> specials;
    for (size_t n = 1 + some(5); n > 0; --n)
      specials.push_back({.text = text_of(1 + some(4)), .is_control = some(3) == 0, .strips = strips && some(2) == 0});
    const std::string text = text_of(some(60));
    const bool control = some(2) == 0;
    const TextCuts cuts(specials);
    std::vector<std::string> together;
    const auto parts = cuts.parts(text, some(10), control);
    std::string joined;
    for (const std::string_view part : parts) {
      joined += part;
      for (std::string& piece : pieces_as_libllama(std::string(part), specials, control)) together.push_back(piece);
    }
    ASSERT_EQ(joined, text);
    ASSERT_EQ(together, pieces_as_libllama(text, specials, control)) << round << ": " << text;
    n_cut += parts.size() - 1;
  }
  EXPECT_GT(n_cut, 1000u);
}

TEST(TextCuts, ARunIsCutBehindItsLongestPieces) {
  const TextCuts cuts({{.text = "  "}, {.text = "   "}, {.text = " x"}});
  EXPECT_THAT(cuts.parts("a" + std::string(11, ' '), 4, true), ElementsAre("a   ", "        "));
  EXPECT_THAT(cuts.parts("a" + std::string(14, ' '), 4, true), ElementsAre("a   ", "      ", "     "));
  EXPECT_THAT(cuts.parts("a" + std::string(5, ' ') + "x", 4, true), ElementsAre("a     x")) << "too near its end";
  const TextCuts strict({{.text = "  "}, {.text = "a "}});
  EXPECT_THAT(strict.parts("a" + std::string(7, ' '), 3, true), ElementsAre("a       ")) << "which of the two is first";
}

TEST(TextCuts, RunsAreDividedAsTheWholeIs) {
  std::mt19937 random(20261130);
  const auto some = [&](size_t n) { return random() % n; };
  size_t n_cut = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<SpecialText> specials;
    for (size_t n = 1 + some(4); n > 0; --n)
      specials.push_back({.text = std::string(1 + some(4), "ab"[some(2)]), .is_control = some(4) == 0});
    if (some(2) == 0) specials.push_back({.text = std::string(some(3), 'a') + std::string(1 + some(2), 'b') + "a"});
    std::string text;
    for (size_t n = some(5); n > 0; --n) text += std::string(some(30), "abc"[some(3)]);
    const bool control = some(2) == 0;
    const TextCuts cuts(specials);
    std::vector<std::string> together;
    const auto parts = cuts.parts(text, some(8), control);
    for (const std::string_view part : parts)
      for (std::string& piece : pieces_as_libllama(std::string(part), specials, control)) together.push_back(piece);
    ASSERT_EQ(together, pieces_as_libllama(text, specials, control)) << round << ": " << text;
    n_cut += parts.size() - 1;
  }
  EXPECT_GT(n_cut, 5000u);
}

TEST(TextCuts, AMegabyteOfSpacesIsCutEverywhere) {
  std::vector<SpecialText> specials;
  for (size_t n = 2; n <= 31; ++n) specials.push_back({.text = std::string(n, ' ')});
  const TextCuts cuts(specials);
  const std::string text(1u << 20, ' ');
  const auto parts = cuts.parts(text, 2000, true);
  EXPECT_GT(parts.size(), 500u);
  for (const std::string_view part : parts) EXPECT_LE(part.size(), 2000u + 2 * 31);
}

TEST(TextCuts, AMegabyteOfMarksIsCutEverywhere) {
  const TextCuts cuts({{.text = "\n"}, {.text = "<x>"}});
  std::string text;
  while (text.size() < (1u << 20)) text += "<<<x\n";
  for (const std::string_view part : cuts.parts(text, 2000, true)) EXPECT_LE(part.size(), 2005u);
}

}  // namespace
}  // namespace spillway
