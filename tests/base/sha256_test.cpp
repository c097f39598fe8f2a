// SPDX-License-Identifier: MIT
#include "base/sha256.h"

#include <gmock/gmock.h>

#include "base/utf8.h"

namespace spillway {
namespace {

// The examples of FIPS 180-4.
TEST(Sha256, GivesTheStandardsExamples) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, PiecesAddUp) {
  const std::string text(100'000, 'x');
  Sha256 hash;
  for (size_t i = 0; i < text.size(); i += 777) hash.add(std::string_view(text).substr(i, 777));
  EXPECT_EQ(hash.hex(), sha256_hex(text));
}

TEST(Utf8, ValidTextStaysAndEveryWrongByteIsReplaced) {
  const std::string valid = "aé€𝄞\xf4\x8f\xbf\xbf";
  EXPECT_EQ(valid_utf8(valid), valid);
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(valid_utf8("a\x80z"), "a" + bad + "z");
  EXPECT_EQ(valid_utf8("\xc0\xaf"), bad + bad);            // overlong
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), bad + bad + bad);  // a surrogate
  EXPECT_EQ(valid_utf8("\xf4\x90\x80\x80"), bad + bad + bad + bad);
  EXPECT_EQ(valid_utf8("\xe2\x82"), bad + bad);  // cut off
  EXPECT_EQ(valid_utf8("\xff"), bad);
}

}  // namespace
}  // namespace spillway
