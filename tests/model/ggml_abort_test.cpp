// SPDX-License-Identifier: MIT
#include "model/ggml_abort.h"

#include <ggml.h>
#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>

namespace spillway {
namespace {

void print_and_end(const std::string& why) {
  std::fprintf(stderr, "last words: %s\n", why.c_str());
  std::_Exit(3);
}

TEST(GgmlAbortDeathTest, SaysWhyOnOneLineAndEndsAsTold) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto abort = [] {
    on_ggml_abort(print_and_end);
    ggml_abort("/build/of/somebody/device.cpp", 12, "the device\nis lost: %d", 7);
  };
  EXPECT_EXIT(abort(), testing::ExitedWithCode(3), "last words: device.cpp:12: the device\\?is lost: 7\n$");
}

// Through frames of C, whose own checks these are.
TEST(GgmlAbortTest, IsThrownWhereSomebodyCatches) {
  ggml_context* context = ggml_init({.mem_size = ggml_tensor_overhead() * 4, .mem_buffer = nullptr, .no_alloc = true});
  ggml_tensor* a = ggml_new_tensor_2d(context, GGML_TYPE_F32, 4, 4);
  ggml_tensor* b = ggml_new_tensor_2d(context, GGML_TYPE_F32, 5, 4);
  {
    const GgmlAbortThrows outer;
    {
      const GgmlAbortThrows throws;
      EXPECT_EQ(throws.why(), "");
      EXPECT_THROW(ggml_mul_mat(context, a, b), GgmlAborted);
      EXPECT_THAT(throws.why(), testing::MatchesRegex("ggml\\.c:[0-9]+: GGML_ASSERT.*"));
      EXPECT_EQ(outer.why(), "");
    }
    EXPECT_THROW(ggml_add(context, a, b), GgmlAborted);
    EXPECT_NE(outer.why(), "");
  }
  ggml_free(context);
}

}  // namespace
}  // namespace spillway
