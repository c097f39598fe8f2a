// SPDX-License-Identifier: MIT
#include "cli/answer_printer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

namespace spillway {
namespace {

// Standard error on a full disk while it lives.
class FullStderr {
 public:
  FullStderr() : kept_(dup(STDERR_FILENO)) {
    std::fflush(stderr);
    const int full = open("/dev/full", O_WRONLY);
    is_full_ = full >= 0 && dup2(full, STDERR_FILENO) == STDERR_FILENO;
    if (full >= 0) close(full);
  }
  ~FullStderr() {
    dup2(kept_, STDERR_FILENO);
    close(kept_);
    std::clearerr(stderr);
  }
  bool is_full() const { return is_full_; }

 private:
  const int kept_;
  bool is_full_ = false;
};

TEST(ThoughtPrinter, ThoughtsThatCanNotBeWrittenAreLostAndEndNothing) {
  const FullStderr stderr_is;
  ASSERT_TRUE(stderr_is.is_full());
  ThoughtPrinter thoughts;
  EXPECT_NO_THROW(thoughts.print("hm"));
  EXPECT_NO_THROW(thoughts.finish());
}

TEST(ThoughtPrinter, ThoughtsBeginWithoutABlankLineAndEndWithOne) {
  testing::internal::CaptureStderr();
  ThoughtPrinter thoughts;
  thoughts.print("\n \n");
  thoughts.print("one ");
  thoughts.print("two\n");
  thoughts.finish();
  thoughts.finish();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "one two\n\n\n");
}

}  // namespace
}  // namespace spillway
