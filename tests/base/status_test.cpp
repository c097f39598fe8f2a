// SPDX-License-Identifier: MIT
#include "base/status.h"

#include <gmock/gmock.h>

#include <memory>

#include "base/check.h"
#include "base/hash.h"

namespace spillway {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return error(Code::kInvalidArgument, "odd");
  return number / 2;
}

Result<int> quarter(int number) {
  ASSIGN_OR_RETURN(const int once, half(number));
  ASSIGN_OR_RETURN(const int twice, half(once));
  return twice;
}

Result<void> must_divide_by_four(int number) {
  RETURN_IF_ERROR(quarter(number));
  return {};
}

Result<std::unique_ptr<int>> boxed_half(int number) {
  ASSIGN_OR_RETURN(const int result, half(number));
  return std::make_unique<int>(result);
}

Result<int> unboxed_half(int number) {
  ASSIGN_OR_RETURN(const std::unique_ptr<int> box, boxed_half(number));
  return *box;
}

TEST(Status, AssignOrReturnBindsTheValue) { EXPECT_EQ(quarter(12).value(), 3); }

TEST(Status, AssignOrReturnHandsOnTheFirstError) {
  const Result<int> result = quarter(6);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(result.error().message(), "odd");
}

TEST(Status, AssignOrReturnMovesWhatCannotBeCopied) { EXPECT_EQ(unboxed_half(10).value(), 5); }

TEST(Status, ReturnIfErrorReturnsOnlyErrors) {
  EXPECT_TRUE(must_divide_by_four(8));
  ASSERT_FALSE(must_divide_by_four(2));
  EXPECT_EQ(must_divide_by_four(2).error().message(), "odd");
}

TEST(Status, ContextStandsInFrontAndKeepsTheKind) {
  const Status status = Status(Code::kIo, "disk on fire").with_context("/models/a.gguf");
  EXPECT_EQ(status.message(), "/models/a.gguf: disk on fire");
  EXPECT_EQ(status.code(), Code::kIo);
}

TEST(Status, EveryCodeHasAName) {
  for (int code = 0; code <= static_cast<int>(Code::kInternal); ++code)
    EXPECT_STRNE(code_name(static_cast<Code>(code)), "unknown") << code;
}

TEST(CheckDeathTest, NamesTheBrokenPromise) {
  EXPECT_DEATH(CHECK(1 + 1 == 3), "status_test.cpp:.*1 \\+ 1 == 3");
  CHECK(1 + 1 == 2);
}

TEST(Fnv1a, GivesThePublishedValues) {
  Fnv1a empty;
  EXPECT_EQ(empty.value(), 0xcbf29ce484222325u);
  Fnv1a word;
  word.add("foo", 3);
  word.add("bar", 3);
  EXPECT_EQ(word.value(), 0x85944171f73967e8u);
}

}  // namespace
}  // namespace spillway
