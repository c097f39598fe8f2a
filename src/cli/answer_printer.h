// SPDX-License-Identifier: MIT
// Writes an answer to stdout while it grows: whole characters, at once, ended by a newline.
#pragma once

#include <string_view>

#include "base/status.h"
#include "base/utf8_buffer.h"

namespace spillway {

class AnswerPrinter {
 public:
  // False when stdout takes no more; outcome() says why.
  bool print(std::string_view bytes);
  void finish();

  // True: written. False: the reader went away, which is its right.
  //   Io   the message names the reason (a full disk)
  Result<bool> outcome() const;

 private:
  bool write(std::string_view text);

  Utf8Buffer characters_;
  bool at_line_start_ = false;
  int error_ = 0;
};

// Writes `line` and a newline to stdout; outcomes as above.
Result<bool> print_line_to_stdout(std::string_view line);

}  // namespace spillway
