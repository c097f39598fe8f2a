// SPDX-License-Identifier: MIT
#include "base/bytes.h"

#include <gmock/gmock.h>

#include <random>

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

TEST(ByteRange, WholePagesInsideLeaveTheEdgesOut) {
  EXPECT_EQ(whole_pages_inside({100, 3 * kPageBytes}), (ByteRange{kPageBytes, 2 * kPageBytes}));
  EXPECT_EQ(whole_pages_inside({kPageBytes, kPageBytes}), (ByteRange{kPageBytes, kPageBytes}));
  EXPECT_TRUE(whole_pages_inside({1, kPageBytes}).empty());
  EXPECT_TRUE(whole_pages_inside({1, 2 * kPageBytes - 2}).empty());
  EXPECT_TRUE(whole_pages_inside({kPageBytes, 0}).empty());
}

TEST(ByteRange, PagesAroundTakeTheEdgesIn) {
  EXPECT_EQ(pages_around({100, 1}), (ByteRange{0, kPageBytes}));
  EXPECT_EQ(pages_around({kPageBytes - 1, 2}), (ByteRange{0, 2 * kPageBytes}));
  EXPECT_EQ(pages_around({kPageBytes, kPageBytes}), (ByteRange{kPageBytes, kPageBytes}));
  EXPECT_TRUE(pages_around({kPageBytes, 0}).empty());
}

TEST(ByteRange, PagesAgreeWithAModelThatLooksAtEveryByte) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    const ByteRange range{random() % (4 * kPageBytes), 1 + random() % (4 * kPageBytes)};
    uint64_t whole = 0, touched = 0;
    for (uint64_t page = 0; page < 9 * kPageBytes; page += kPageBytes) {
      whole += page >= range.offset && page + kPageBytes <= range.end();
      touched += page < range.end() && page + kPageBytes > range.offset;
    }
    EXPECT_EQ(whole_pages_inside(range).bytes, whole * kPageBytes);
    EXPECT_EQ(pages_around(range).bytes, touched * kPageBytes);
  }
}

// Plans count the slots of tensors, the store makes those of their whole pages: never more than was planned.
TEST(RingSlots, AreNeverSmallerForMoreAndAnEighthLongerAtMost) {
  uint64_t before_bytes = 0;
  for (uint64_t bytes = kPageBytes; bytes <= 40 * MiB; bytes += kPageBytes) {
    const uint64_t slot_bytes = ring_slot_bytes(bytes);
    ASSERT_GE(slot_bytes, bytes);
    ASSERT_LE(slot_bytes, bytes + bytes / 8);
    ASSERT_GE(slot_bytes, before_bytes);
    before_bytes = slot_bytes;
  }
}

}  // namespace
}  // namespace spillway
