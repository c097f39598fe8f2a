// SPDX-License-Identifier: MIT
// How much of a growing text is certain: its end may be the beginning of a mark, blanks, or half a character. Pure.
#pragma once

#include <algorithm>
#include <string_view>

#include "chat/json_text.h"

namespace spillway {

inline size_t blanks_before(std::string_view text) {
  return static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_blank) - text.begin());
}

// The end of text[0, end) without the blanks there.
inline size_t end_without_blanks(std::string_view text, size_t end) {
  while (end > 0 && is_blank(text[end - 1])) --end;
  return end;
}

// How many bytes at the end of `text` could be the beginning of `mark`.
inline size_t begun_size(std::string_view text, std::string_view mark) {
  for (size_t size = std::min(text.size(), mark.size() - 1); size > 0; --size)
    if (text.ends_with(mark.substr(0, size))) return size;
  return 0;
}

// The end of text[0, end) without the bytes of a UTF-8 character that is not complete there.
inline size_t end_of_whole_characters(std::string_view text, size_t end) {
  for (size_t back = 1; back <= std::min<size_t>(end, 4); ++back) {
    const auto byte = static_cast<unsigned char>(text[end - back]);
    if ((byte & 0xC0u) == 0x80u) continue;  // of the middle
    const size_t size = byte >= 0xF0u ? 4 : byte >= 0xE0u ? 3 : byte >= 0xC0u ? 2 : 1;
    return size > back ? end - back : end;
  }
  return end;
}

}  // namespace spillway
