// SPDX-License-Identifier: MIT
#include "base/utf8.h"

#include <algorithm>
#include <cstdint>

namespace spillway {
namespace {

// Bytes of the valid sequence that `text` begins with; 0 when it begins with none.
size_t sequence_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const uint8_t second = byte(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool surrogate = first == 0xed && second > 0x9f;
  const bool too_large = first == 0xf4 && second > 0x8f;
  return overlong || surrogate || too_large ? 0 : bytes;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = sequence_bytes(text);
    if (bytes > 0)
      out += text.substr(0, bytes);
    else
      out += "\xef\xbf\xbd";
    text.remove_prefix(bytes > 0 ? bytes : 1);
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : valid_utf8(text)) {
    const auto byte = static_cast<uint8_t>(c);
    const bool is_control = (byte < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
    // U+0080 to U+009F, which some terminals take for escapes.
    const bool is_second = !out.empty() && out.back() == '\xc2' && byte < 0xa0;
    if (is_second) out.pop_back();
    out += is_control || is_second ? '?' : c;
  }
  return out;
}

std::string shortened(std::string_view text) {
  constexpr size_t kBytes = 200;
  size_t end = std::min(text.size(), kBytes);
  while (end > 0 && end < text.size() && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  std::string line = valid_utf8(text.substr(0, end));
  line = printable(line);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\t'; }, '?');
  return end < text.size() ? line + "\xe2\x80\xa6" : line;
}

}  // namespace spillway
