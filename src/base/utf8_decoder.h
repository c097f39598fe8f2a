// SPDX-License-Identifier: MIT
// UTF-8 byte by byte, for text that may end within a character. Strict: no overlong forms, no surrogates, nothing above
// U+10FFFF.
#pragma once

#include <algorithm>
#include <cstdint>

namespace spillway {

class Utf8Decoder {
 public:
  enum class Took { kCharacter, kPart, kInvalid };

  // After kCharacter value() is the character; after kInvalid the decoder is of no more use.
  Took take(unsigned char byte) {
    if (missing_ == 0) return begin(byte);
    if ((byte & 0xC0u) != 0x80u) return Took::kInvalid;
    value_ = value_ << 6u | (byte & 0x3Fu);
    --missing_;
    if (first() > last()) return Took::kInvalid;
    return missing_ == 0 ? Took::kCharacter : Took::kPart;
  }

  bool is_within() const { return missing_ > 0; }  // a character has begun and is not complete
  char32_t value() const { return value_; }

  // The characters that what came so far can become.
  char32_t first() const {
    constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint32_t low = std::max(value_ << (6 * missing_), kLeast[length_]);
    return low >= 0xD800 && low < 0xE000 ? 0xE000 : low;
  }
  char32_t last() const {
    const uint32_t high = std::min((value_ << (6 * missing_)) | ((1u << (6 * missing_)) - 1), 0x10FFFFu);
    return high >= 0xD800 && high < 0xE000 ? 0xD7FF : high;
  }

 private:
  Took begin(unsigned char byte) {
    length_ = byte < 0x80 ? 1 : byte < 0xC2 ? 0 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : byte < 0xF5 ? 4 : 0;
    if (length_ == 0) return Took::kInvalid;
    value_ = length_ == 1 ? byte : byte & (0xFFu >> (length_ + 1));
    missing_ = length_ - 1;
    return missing_ == 0 ? Took::kCharacter : Took::kPart;
  }

  uint32_t value_ = 0, length_ = 1, missing_ = 0;
};

}  // namespace spillway
