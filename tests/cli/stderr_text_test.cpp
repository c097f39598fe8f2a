// SPDX-License-Identifier: MIT
#include "cli/stderr_text.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace spillway {
namespace {

TEST(StderrText, WhatStandardErrorDoesNotTakeIsSaidAndNotThrown) {
  const int kept = ::dup(STDERR_FILENO), full = ::open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  ::dup2(full, STDERR_FILENO);
  const bool taken = print_to_stderr("measuring [###");
  ::dup2(kept, STDERR_FILENO);
  ::close(full);
  ::close(kept);
  EXPECT_FALSE(taken);
  EXPECT_TRUE(print_to_stderr("\n")) << "the next one may come through";
}

}  // namespace
}  // namespace spillway
