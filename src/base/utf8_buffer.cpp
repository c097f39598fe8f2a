// SPDX-License-Identifier: MIT
#include "base/utf8_buffer.h"

#include <cstdint>
#include <utility>

namespace spillway {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

enum class Outcome { kComplete, kBegun, kInvalid };
struct Character {
  Outcome outcome = Outcome::kInvalid;
  size_t bytes = 1;  // to take, or to replace
};

// The character that `text` begins with (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing past
// U+10FFFF).
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {Outcome::kComplete, 1};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Outcome::kBegun, i};
    if (byte(i) < low || byte(i) > high) return {Outcome::kInvalid, i};
    low = 0x80, high = 0xBF;
  }
  return {Outcome::kComplete, length};
}

}  // namespace

std::string Utf8Buffer::push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Character character = first_character(rest);
    if (character.outcome == Outcome::kBegun) break;
    out += character.outcome == Outcome::kComplete ? rest.substr(0, character.bytes) : kReplacement;
    rest.remove_prefix(character.bytes);
  }
  held_ = std::string(rest);
  return out;
}

std::string Utf8Buffer::finish() { return std::exchange(held_, {}).empty() ? "" : kReplacement; }

}  // namespace spillway
