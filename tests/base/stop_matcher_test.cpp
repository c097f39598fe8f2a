// SPDX-License-Identifier: MIT
#include "base/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace spillway {
namespace {

TEST(StopMatcher, WithoutStopStringsEverythingPassesAtOnce) {
  StopMatcher matcher({""});
  EXPECT_EQ(matcher.push("abc"), "abc");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, AStopStringThatSpansPiecesIsFoundAndNotShown) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("one E"), "one ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("D two"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("three") + matcher.finish(), "");
}

TEST(StopMatcher, WhatOnlyBeganLikeAStopStringIsShown) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("EN"), "");
  EXPECT_EQ(matcher.push("TER"), "ENTER");
  EXPECT_EQ(matcher.push("EN"), "");
  EXPECT_EQ(matcher.finish(), "EN");
}

TEST(StopMatcher, TheEarliestOfSeveralWins) {
  StopMatcher matcher({"later", "so"});
  EXPECT_EQ(matcher.push("and so it is later"), "and ");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, ALongBeginningOfManyIsHeldBackWithoutBeingComparedAnew) {
  std::vector<std::string> stops;
  for (int i = 0; i < 2'000; ++i) stops.push_back(std::string(60, 'a') + "b" + std::to_string(i));
  stops.push_back(std::string(50'000, 'a') + "!");
  StopMatcher matcher(stops);
  for (int i = 0; i < 2'000; ++i) EXPECT_EQ(matcher.push("aaaaa"), "");
  EXPECT_EQ(matcher.push("z"), std::string(10'000, 'a') + "z");
  EXPECT_EQ(matcher.push(std::string(61, 'a') + "b1999"), "a");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.matched(), std::string(60, 'a') + "b1");
}

TEST(StopMatcher, AgreesWithASearchInTheWholeText) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto word = [&](size_t n) {
    std::string text;
    while (text.size() < n) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::string text = word(random() % 12);
    const std::vector<std::string> stops = {word(1 + random() % 4), word(2 + random() % 4)};
    const size_t end = std::min({text.find(stops[0]), text.find(stops[1]), text.size()});
    StopMatcher matcher(stops);
    std::string shown;
    for (size_t at = 0, n = 0; at < text.size(); at += n) {
      n = 1 + random() % 3;
      shown += matcher.push(text.substr(at, n));
    }
    shown += matcher.finish();
    // Pieces come one after the other: a longer stop string that began earlier may lose to one that is complete.
    EXPECT_TRUE(text.starts_with(shown));
    EXPECT_GE(shown.size(), end) << text << " stops " << stops[0] << " " << stops[1];
    EXPECT_EQ(matcher.stopped(), end < text.size());
    for (const std::string& stop : stops) EXPECT_EQ(shown.find(stop), std::string::npos);
  }
}

}  // namespace
}  // namespace spillway
