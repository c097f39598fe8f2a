// SPDX-License-Identifier: MIT
#include "hw/read_choice.h"

#include <gmock/gmock.h>

#include "base/bytes.h"

namespace spillway {
namespace {

using testing::ElementsAre;

TEST(ReadChoice, AsManyInFlightAsComeWithinFivePercentOfTheBest) {
  const ReadRate tried[] = {{MiB, 8, 2.9e9}, {MiB, 16, 3.0e9}, {MiB, 32, 2.86e9}, {MiB, 64, 2.7e9}};
  const auto chosen = choose_reads(tried);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->depth, 32u);
  EXPECT_EQ(chosen->bytes_per_s, 2.86e9);
}

TEST(ReadChoice, ADiskThatLosesByAFullQueueGetsAShortOne) {
  const ReadRate tried[] = {{MiB, 8, 3.0e9}, {MiB, 16, 2.8e9}, {MiB, 32, 2.0e9}};
  EXPECT_EQ(choose_reads(tried)->depth, 8u);
}

TEST(ReadChoice, OfEquallyDeepQueuesTheFasterOneCounts) {
  const ReadRate tried[] = {{MiB / 2, 32, 2.95e9}, {MiB, 32, 3.0e9}, {MiB, 8, 3.1e9}};
  EXPECT_EQ(choose_reads(tried)->read_bytes, MiB);
  const ReadRate other_way[] = {{MiB, 32, 2.95e9}, {MiB / 2, 32, 3.0e9}};
  EXPECT_EQ(choose_reads(other_way)->read_bytes, MiB / 2);
}

TEST(ReadChoice, OfNothingThereIsNone) {
  EXPECT_FALSE(choose_reads({}));
  const ReadRate silent[] = {{MiB, 8, 0}};
  EXPECT_FALSE(choose_reads(silent));
}

TEST(ReadChoice, SlicesThatTheDeviceTakesAtOnceAreTriedAtTheirLength) {
  constexpr uint32_t kMax = MiB - 2 * kPageBytes;
  EXPECT_THAT(read_sizes_for(600'000, kMax), ElementsAre(round_up(600'000, kPageBytes)));
  EXPECT_THAT(read_sizes_for(1, kMax), ElementsAre(kPageBytes));
  EXPECT_THAT(read_sizes_for(4'406'400, kMax), ElementsAre(round_down(kMax / 2, kPageBytes), kMax));
  EXPECT_THAT(read_sizes_for(0, kMax), ElementsAre(round_down(kMax / 2, kPageBytes), kMax));
  EXPECT_THAT(read_sizes_for(0, kPageBytes), ElementsAre(kPageBytes));
}

}  // namespace
}  // namespace spillway
