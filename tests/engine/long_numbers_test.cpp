// SPDX-License-Identifier: MIT
#include "engine/long_numbers.h"

#include <gmock/gmock.h>

#include <string>

namespace spillway {
namespace {

using testing::HasSubstr;

std::string numbers(size_t n, size_t digits) {
  std::string text;
  for (; n > 0; --n) text += std::string(digits, '7') + " ";
  return text;
}

TEST(LongNumbers, AreRefusedByTheSquareOfTheirDigits) {
  EXPECT_TRUE(check_numbers(""));
  EXPECT_TRUE(check_numbers("no digit"));
  EXPECT_TRUE(check_numbers(numbers(1, 100'000)));
  EXPECT_TRUE(check_numbers(numbers(100, 10'000)));
  EXPECT_TRUE(check_numbers(numbers(100'000, 10))) << "a table";
  const auto one = check_numbers("x" + numbers(1, 300'000));
  ASSERT_FALSE(one);
  EXPECT_EQ(one.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(one.error().message(), HasSubstr("300000 digits"));
  EXPECT_FALSE(check_numbers(numbers(101, 10'000)));
}

TEST(LongNumbers, AreNothingToOtherTokenizers) {
  EXPECT_TRUE(takes_long_for_numbers("superbpe"));
  for (const char* name : {"", "default", "llama-bpe", "qwen2", "tiny_aya", "afmoe"})
    EXPECT_FALSE(takes_long_for_numbers(name)) << name;
}

}  // namespace
}  // namespace spillway
