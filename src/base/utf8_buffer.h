// SPDX-License-Identifier: MIT
// Makes valid UTF-8 of bytes that arrive in pieces: a token may end in the middle of a character. Bytes that can not be
// part of any character become U+FFFD.
#pragma once

#include <string>
#include <string_view>

namespace spillway {

class Utf8Buffer {
 public:
  // All characters that are complete now; the beginning of one more is kept for the next call.
  std::string push(std::string_view bytes);

  // The end: a character that was begun will not be completed any more.
  std::string finish();

 private:
  std::string held_;  // at most 3 bytes: a valid beginning of a character
};

}  // namespace spillway
