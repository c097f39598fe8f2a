// SPDX-License-Identifier: MIT
#include "cli/answer_printer.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace spillway {

bool AnswerPrinter::write(std::string_view text) {
  if (error_ != 0) return false;
  if (text.empty()) return true;
  at_line_start_ = text.back() == '\n';
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) error_ = errno;
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

Result<bool> print_line_to_stdout(std::string_view line) {
  AnswerPrinter printer;
  printer.print(line);
  printer.finish();
  return printer.outcome();
}

}  // namespace spillway
