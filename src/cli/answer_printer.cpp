// SPDX-License-Identifier: MIT
#include "cli/answer_printer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "cli/commands.h"

namespace spillway {
namespace {

// A line break may be two characters, and may come in two pieces.
std::string shown_on_terminal(std::string_view text) {
  std::string line(text);
  line.erase(std::remove(line.begin(), line.end(), '\r'), line.end());
  return printable(line);
}

}  // namespace

AnswerPrinter::AnswerPrinter() : is_terminal_(isatty(STDOUT_FILENO) == 1) {}

AnswerPrinter::~AnswerPrinter() {
  if (began_) finish();
}

bool AnswerPrinter::write(std::string_view text) {
  if (error_ != 0) return false;
  if (text.empty()) return true;
  began_ = true;
  at_line_start_ = text.back() == '\n';
  const std::string shown = is_terminal_ ? shown_on_terminal(text) : std::string(text);
  if (std::fwrite(shown.data(), 1, shown.size(), stdout) != shown.size() || std::fflush(stdout) != 0) error_ = errno;
  return error_ == 0;
}

bool AnswerPrinter::print(std::string_view bytes) { return write(characters_.push(bytes)); }

void AnswerPrinter::finish() {
  write(characters_.finish());
  if (!at_line_start_) write("\n");
}

Result<bool> AnswerPrinter::outcome() const {
  if (error_ == 0) return true;
  if (error_ == EPIPE) return false;
  return error(Code::kIo, fmt::format("standard output: {}", std::strerror(error_)));
}

bool ThoughtPrinter::is_terminal_of_stderr() { return isatty(STDERR_FILENO) == 1; }

void ThoughtPrinter::print(std::string_view bytes) {
  std::string text = characters_.push(bytes);
  // Most thoughts begin with a line break, which says nothing.
  if (!began_) text.erase(0, std::min(text.find_first_not_of(" \r\n"), text.size()));
  if (text.empty()) return;
  began_ = true;
  write(shown(text));
}

// Dim for each piece anew: what ends the program or is written in between finds the terminal as it was.
std::string ThoughtPrinter::shown(const std::string& text) const {
  return dim_ && !text.empty() ? "\x1b[2m" + shown_on_terminal(text) + "\x1b[0m" : text;
}

void ThoughtPrinter::write(const std::string& text) { (void)std::fwrite(text.data(), 1, text.size(), stderr); }

void ThoughtPrinter::finish() {
  if (!std::exchange(began_, false)) return;
  write(shown(characters_.finish()) + "\n\n");
}

Result<bool> print_line_to_stdout(std::string_view line) {
  AnswerPrinter printer;
  printer.print(line);
  printer.finish();
  return printer.outcome();
}

Result<int> print_and_end(std::string_view text) {
  ASSIGN_OR_RETURN(const bool written, print_line_to_stdout(text));
  return written ? kExitOk : kExitPipeClosed;
}

}  // namespace spillway
