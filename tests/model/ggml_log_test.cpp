// SPDX-License-Identifier: MIT
#include "model/ggml_log.h"

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

}  // namespace
}  // namespace spillway
