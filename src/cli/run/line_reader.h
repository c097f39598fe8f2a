// SPDX-License-Identifier: MIT
// Lines of standard input, waited for in a way that Ctrl-C interrupts. The terminal's own editing is all there is.
#pragma once

#include <cstddef>
#include <string>

namespace spillway {

class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupted, kTooLong };

  // Of a line, as of a prompt's text.
  static constexpr size_t kBytesMax = 8 << 20;

  // The next line, without its newline; the last one may have none. What was typed ahead is dropped by an interrupt.
  // A line that is too long has not ended, and nothing is read behind it.
  Outcome read(std::string& line);

 private:
  std::string held_;
  bool ended_ = false;
};

}  // namespace spillway
