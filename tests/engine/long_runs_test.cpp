// SPDX-License-Identifier: MIT
#include "engine/long_runs.h"

#include <gmock/gmock.h>

#include <string>

namespace spillway {
namespace {

using testing::HasSubstr;

std::string again(const std::string& text, size_t n) {
  std::string all;
  for (; n > 0; --n) all += text;
  return all;
}

TEST(LongRuns, AreRefusedByTheSquareOfTheirLength) {
  const auto takes = [](const std::string& text) { return bool{check_runs(text, LongRuns::kDigits)}; };
  EXPECT_TRUE(takes(""));
  EXPECT_TRUE(takes("no digit"));
  EXPECT_TRUE(takes(again("7", 10'000)));
  EXPECT_TRUE(takes(again(again("7", 1'000) + " ", 100)));
  EXPECT_TRUE(takes(again("1234567890 ", 100'000))) << "a table";
  EXPECT_FALSE(takes(again(again("7", 1'000) + " ", 101)));
  const auto one = check_runs("x" + again("7", 300'000) + "x", LongRuns::kDigits);
  ASSERT_FALSE(one);
  EXPECT_EQ(one.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(one.error().message(), HasSubstr("300000 digits"));
}

TEST(LongRuns, OfBlanksCountUnicodesToo) {
  for (const char* blank : {" ", "\t", "\n", "\r\n", "\u0085", "\u00A0", "\u1680", "\u2000", "\u2003", "\u200A",
                            "\u2028", "\u202F", "\u205F", "\u3000"}) {
    EXPECT_FALSE(check_runs(again(blank, 150'001), LongRuns::kBlanks)) << blank;
    EXPECT_TRUE(check_runs(again(blank, 50'000) + "x", LongRuns::kBlanks)) << blank;
    EXPECT_TRUE(check_runs(again(blank, 100'001), LongRuns::kDigits)) << blank;
  }
  EXPECT_TRUE(check_runs(again("\u200B", 150'001), LongRuns::kBlanks)) << "takes no place, and is no blank";
  EXPECT_TRUE(check_runs(again(" word", 200'000), LongRuns::kBlanks));
}

TEST(LongRuns, AreHarmlessToOtherTokenizers) {
  EXPECT_EQ(slow_runs_of("superbpe"), LongRuns::kDigits);
  EXPECT_EQ(slow_runs_of("jais-2"), LongRuns::kBlanks);
  for (const char* name : {"", "default", "llama-bpe", "qwen2", "tiny_aya", "afmoe", "jais"})
    EXPECT_EQ(slow_runs_of(name), LongRuns::kHarmless) << name;
  EXPECT_TRUE(check_runs(again("7", 300'000) + again(" ", 300'000), LongRuns::kHarmless));
}

}  // namespace
}  // namespace spillway
