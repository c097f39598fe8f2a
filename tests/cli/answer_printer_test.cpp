// SPDX-License-Identifier: MIT
#include "cli/answer_printer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <cstdio>
#include <string>

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

// A file, standard output or error, on a terminal while it lives.
class Terminal {
 public:
  explicit Terminal(int fd) : fd_(fd), kept_(dup(fd)) {
    std::fflush(stdout);
    int terminal = -1;
    is_terminal_ = openpty(&reader_, &terminal, nullptr, nullptr, nullptr) == 0 && dup2(terminal, fd) == fd;
    if (terminal >= 0) close(terminal);
  }
  ~Terminal() {
    dup2(kept_, fd_);
    close(kept_);
    if (reader_ >= 0) close(reader_);
  }
  bool is_terminal() const { return is_terminal_; }
  // What was written, up to and with its next line's end.
  std::string line() const {
    std::string text;
    for (char c = 0; c != '\n' && read(reader_, &c, 1) == 1;) text += c;
    return text;
  }

 private:
  const int fd_, kept_;
  int reader_ = -1;
  bool is_terminal_ = false;
};

TEST(AnswerPrinter, ATerminalIsToldNoCommands) {
  const std::string answer =
      "a\tb \x1b]52;c;cm0gLXJm\x07 \xc2\x9b"
      "2J c\xc3\xa4\r\n";
  std::string seen;
  {
    const Terminal stdout_is(STDOUT_FILENO);
    ASSERT_TRUE(stdout_is.is_terminal());
    AnswerPrinter printer;
    for (const char c : answer) printer.print(std::string(1, c));
    printer.finish();
    seen = stdout_is.line();
  }
  EXPECT_EQ(seen.substr(seen.find("?]52")), "?]52;c;cm0gLXJm? ?2J c\xc3\xa4\r\n");  // the terminal's own line end
  testing::internal::CaptureStdout();
  AnswerPrinter printer;
  printer.print(answer);
  printer.finish();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), answer) << "what is no terminal takes bytes";
}

TEST(AnswerPrinter, AnAnswerThatBreaksOffEndsItsLine) {
  testing::internal::CaptureStdout();
  { AnswerPrinter().print("half a sen"); }
  { AnswerPrinter().print(""); }
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "half a sen\n") << "where nothing was said there is no line";
}

TEST(ThoughtPrinter, ATerminalIsAsItWasBehindEachPiece) {
  std::string first, second;
  {
    const Terminal stderr_is(STDERR_FILENO);
    ASSERT_TRUE(stderr_is.is_terminal());
    {
      ThoughtPrinter broken_off;
      broken_off.print("hm ");
      broken_off.print("so");
    }
    first = stderr_is.line();
    second = stderr_is.line();
  }
  EXPECT_EQ(first, "\x1b[2mhm \x1b[0m\x1b[2mso\x1b[0m\r\n");
  EXPECT_EQ(second, "\r\n");
}

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
