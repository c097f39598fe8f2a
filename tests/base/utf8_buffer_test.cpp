// SPDX-License-Identifier: MIT
#include "base/utf8_buffer.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace spillway {
namespace {

TEST(Utf8Buffer, ACharacterCutInPiecesComesOutWhole) {
  Utf8Buffer buffer;
  EXPECT_EQ(buffer.push("a\xF0\x9F"), "a");
  EXPECT_EQ(buffer.push("\x98"), "");
  EXPECT_EQ(buffer.push("\x80z"), "\xF0\x9F\x98\x80z");
  EXPECT_EQ(buffer.finish(), "");
}

TEST(Utf8Buffer, EveryCutOfATextGivesTheSameText) {
  const std::string text = "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80!";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Utf8Buffer buffer;
    std::string out = buffer.push(text.substr(0, cut));
    out += buffer.push(text.substr(cut));
    out += buffer.finish();
    EXPECT_EQ(out, text) << "cut at " << cut;
  }
}

TEST(Utf8Buffer, WhatIsNoCharacterIsReplaced) {
  const std::string r = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"a\xFFz", "a" + r + "z"},            // never a lead byte
      {"\x80", r},                          // a continuation without a lead
      {"\xC0\xAF", r + r},                  // overlong
      {"\xE0\x80\x80", r + r + r},          // overlong
      {"\xED\xA0\x80", r + r + r},          // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},  // past U+10FFFF
      {"\xE2\x82z", r + "z"},               // broken off: one replacement for what had begun
  };
  for (const auto& [bytes, expected] : cases) {
    Utf8Buffer buffer;
    std::string out = buffer.push(bytes);
    out += buffer.finish();
    EXPECT_EQ(out, expected);
  }
}

TEST(Utf8Buffer, ACharacterThatNeverEndsIsReplacedAtTheEnd) {
  Utf8Buffer buffer;
  EXPECT_EQ(buffer.push("\xE2\x82"), "");
  EXPECT_EQ(buffer.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(buffer.finish(), "");
}

TEST(Shortened, IsOneLineAndCutBetweenCharacters) {
  EXPECT_EQ(shortened("a\nb\tc\x7f"), "a?b?c?");
  EXPECT_EQ(shortened(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(shortened(std::string(199, 'x') + "\xc3\xa4"), std::string(199, 'x') + "\xe2\x80\xa6");
}

TEST(Printable, LeavesTextLineBreaksAndTabsAlone) {
  EXPECT_EQ(printable("a\tb\nc\xc3\xa4\xe2\x80\xa6"), "a\tb\nc\xc3\xa4\xe2\x80\xa6");
  EXPECT_EQ(printable("\x1b[31m\a\r\x7f"), "?[31m???");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J\xc2\xa0"),
            "?2J\xc2\xa0")
      << "an escape in one character";
  EXPECT_EQ(printable("\x9b"), "\xef\xbf\xbd");
}

}  // namespace
}  // namespace spillway
