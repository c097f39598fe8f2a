// SPDX-License-Identifier: MIT
// Writes an answer to stdout while it grows: whole characters, at once, ended by a newline.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "base/utf8_buffer.h"

namespace spillway {

// On a terminal, control characters are "?": what a model writes moves no cursor and sets no clipboard. Elsewhere
// (a file, a pipe) its bytes go as they are.
class AnswerPrinter {
 public:
  AnswerPrinter();
  ~AnswerPrinter();  // an answer that broke off ends its line, too
  AnswerPrinter(const AnswerPrinter&) = delete;
  AnswerPrinter& operator=(const AnswerPrinter&) = delete;

  // False when stdout takes no more; outcome() says why.
  bool print(std::string_view bytes);
  void finish();

  // True: written. False: the reader went away, which is its right.
  //   Io   the message names the reason (a full disk)
  Result<bool> outcome() const;

 private:
  bool write(std::string_view text);

  const bool is_terminal_;
  Utf8Buffer characters_;
  bool began_ = false, at_line_start_ = false;
  int error_ = 0;
};

// Writes thoughts to stderr while they grow, so that stdout has the answer alone: dim where that is a terminal, and
// with an empty line behind them. Where stderr takes no more they are lost, and the answer goes on.
class ThoughtPrinter {
 public:
  ThoughtPrinter() = default;
  ~ThoughtPrinter() { finish(); }
  ThoughtPrinter(const ThoughtPrinter&) = delete;
  ThoughtPrinter& operator=(const ThoughtPrinter&) = delete;

  void print(std::string_view bytes);
  // The answer begins, or it has ended.
  void finish();

 private:
  static bool is_terminal_of_stderr();
  static void write(const std::string& text);
  std::string shown(const std::string& text) const;

  const bool dim_ = is_terminal_of_stderr();
  Utf8Buffer characters_;
  bool began_ = false;
};

// Writes `line` and a newline to stdout; outcomes as above.
Result<bool> print_line_to_stdout(std::string_view line);
// The same for all that a command says: returns its exit code.
Result<int> print_and_end(std::string_view text);

}  // namespace spillway
