// SPDX-License-Identifier: MIT
#include "base/bytes.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

TEST(ParseBytes, TakesEverySpellingOfAUnit) {
  for (const char* text :
       {"4G", "4g", "4GB", "4gb", "4GiB", "4 GiB", "4096M", "4194304k", "4294967296", "4294967296B"}) {
    const Result<uint64_t> bytes = parse_bytes(text);
    ASSERT_TRUE(bytes) << text;
    EXPECT_EQ(*bytes, 4 * GiB) << text;
  }
  EXPECT_EQ(*parse_bytes("2T"), 2048 * GiB);
}

TEST(ParseBytes, TakesFractions) {
  EXPECT_EQ(*parse_bytes("4.5g"), 4 * GiB + 512 * MiB);
  EXPECT_EQ(*parse_bytes("0.5k"), 512u);
}

TEST(ParseBytes, RefusesWhatIsNoSizeAndSaysHowToWriteOne) {
  for (const char* text : {"", " ", "G", "abc", "4X", "4GiBs", "4G5", "-4G", "0", "0G", "nan", "inf", "1e30",
                           "99999999T", "4,5G", " 4G", "+4G", "0.5"}) {
    const Result<uint64_t> bytes = parse_bytes(text);
    ASSERT_FALSE(bytes) << text << " gave " << *bytes;
    EXPECT_EQ(bytes.error().code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(bytes.error().message(), testing::HasSubstr("4GiB"));
  }
}

TEST(FormatBytes, PicksTheUnitThatReadsBest) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(7), "7 B");
  EXPECT_EQ(format_bytes(12 * KiB), "12 KiB");
  EXPECT_EQ(format_bytes(590 * MiB), "590 MiB");
  EXPECT_EQ(format_bytes(GiB), "1.00 GiB");
  EXPECT_EQ(format_bytes(GiB + 942 * MiB), "1.92 GiB");
}

TEST(Rounding, GoesToTheUnitBelowAndAbove) {
  EXPECT_EQ(round_down(4097, 4096), 4096u);
  EXPECT_EQ(round_up(4097, 4096), 8192u);
  EXPECT_EQ(round_up(4096, 4096), 4096u);
  EXPECT_EQ(round_up(0, 4096), 0u);
}

}  // namespace
}  // namespace spillway
