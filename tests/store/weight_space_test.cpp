// SPDX-License-Identifier: MIT
#include "store/weight_space.h"

#include <gmock/gmock.h>

#include <vector>

#include "base/bytes.h"
#include "sim_weights.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uint32_t kReadBytes = 4 * kPageBytes;

// 64 pages and a tail of 100 bytes.
class WeightSpaceTest : public testing::Test {
 protected:
  Result<void> load(std::vector<ByteRange> ranges, const WeightSpace::Progress& progress = {}) {
    std::vector<WeightSpace::PinRange> pinned;
    for (const ByteRange& range : ranges) pinned.push_back({.file = 0, .pages = range});
    return space_.load_for_good(pinned, *ring_, kReadBytes, progress);
  }
  static ByteRange pages(uint64_t first, uint64_t count) { return {first * kPageBytes, count * kPageBytes}; }

  SimDisk disk_{{.seed = 5}};
  SimWeights weights_{disk_, 64 * kPageBytes + 100};
  const std::unique_ptr<ReadRing> ring_ = disk_.open_ring(5);
  const WeightSpace space_ = WeightSpace::open({weights_.mapped()}).value();
};

TEST_F(WeightSpaceTest, WhatIsLoadedForGoodIsMemoryOfOurOwnWithTheFilesBytes) {
  ASSERT_TRUE(load({pages(3, 10), pages(20, 1), pages(40, 7)}));
  EXPECT_TRUE(weights_.read_as_the_file());
  EXPECT_EQ(weights_.anonymous_bytes(pages(3, 10)), 10 * kPageBytes);
  EXPECT_EQ(weights_.anonymous_bytes(pages(20, 1)), kPageBytes);
  EXPECT_EQ(weights_.anonymous_bytes(pages(40, 7)), 7 * kPageBytes);
  EXPECT_EQ(weights_.anonymous_bytes(pages(0, 65)), 18 * kPageBytes);
}

TEST_F(WeightSpaceTest, TheTailOfAFileIsLoadedAndReadsAsZerosBehindItsEnd) {
  for (const ByteRange& range : {pages(60, 5), pages(64, 1)}) {
    ASSERT_TRUE(load({range}));
    EXPECT_EQ(weights_.anonymous_bytes(range), range.bytes);
    EXPECT_TRUE(weights_.read_as_the_file());
    for (uint64_t i = 100; i < kPageBytes; ++i)
      ASSERT_EQ(weights_.mapped().base[64 * kPageBytes + i], std::byte{0}) << i;
  }
}

TEST_F(WeightSpaceTest, TheWholeFileCanBeLoadedAtOnce) {
  ASSERT_TRUE(load({pages(0, 65)}));
  EXPECT_TRUE(weights_.read_as_the_file());
  EXPECT_EQ(weights_.anonymous_bytes(pages(0, 65)), 65 * kPageBytes);
}

TEST_F(WeightSpaceTest, WhatWasLoadedForGoodGivesItsMemoryBackAndIsLoadedAgainWhileItIsRead) {
  const Witness witness(weights_, Witness::Eviction::kForbidden, 3);
  for (int round = 0; round < 200; ++round) {
    ASSERT_TRUE(load({pages(0, 40)}));
    ASSERT_EQ(weights_.anonymous_bytes(pages(0, 65)), 40 * kPageBytes);
    ASSERT_TRUE(space_.show_file({.file = 0, .pages = pages(8, 30)}));
    ASSERT_EQ(weights_.anonymous_bytes(pages(0, 65)), 10 * kPageBytes);
    ASSERT_TRUE(weights_.read_as_the_file());
  }
  EXPECT_EQ(witness.pages_wrong(), 0u);
}

TEST_F(WeightSpaceTest, AReadThatFailsOrComesBackShortIsTriedAgain) {
  disk_.options().fault_every_nth = 5;  // of 8 reads
  ASSERT_TRUE(load({pages(0, 32)}));
  EXPECT_EQ(disk_.reads_done(), 9u);
  disk_.options().fault_every_nth = 0;
  disk_.options().short_every_nth = 12;
  ASSERT_TRUE(load({pages(32, 33)}));
  EXPECT_EQ(disk_.reads_done(), 18u);
  EXPECT_TRUE(weights_.read_as_the_file());
}

TEST_F(WeightSpaceTest, AReadThatFailsTwiceFailsTheLoadAndNamesFileAndOffset) {
  disk_.options().fail_all = true;
  const auto loaded = load({pages(8, 1)});
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), Code::kIo);
  EXPECT_THAT(loaded.error().message(),
              AllOf(HasSubstr(weights_.file().path()), HasSubstr("32768"), HasSubstr("Input/output error")));
  EXPECT_EQ(ring_->in_flight(), 0u);
  EXPECT_TRUE(weights_.read_as_the_file());
  EXPECT_EQ(weights_.anonymous_bytes(pages(8, 1)), 0u);

  disk_.options().fail_all = false;
  ASSERT_TRUE(load({pages(8, 1)}));
  EXPECT_TRUE(weights_.read_as_the_file());
}

TEST_F(WeightSpaceTest, AFileThatShrankIsReportedAsChanged) {
  disk_.shrink_files_to(10 * kPageBytes);
  const auto loaded = load({pages(8, 4)});
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), Code::kChanged);
  EXPECT_THAT(loaded.error().message(), AllOf(HasSubstr(weights_.file().path()), HasSubstr("40960")));
  const auto tail = load({pages(64, 1)});
  ASSERT_FALSE(tail);
  EXPECT_EQ(tail.error().code(), Code::kChanged);
}

TEST_F(WeightSpaceTest, ProgressGrowsToAllThatWasReadAndCanCancel) {
  std::vector<uint64_t> seen;
  ASSERT_TRUE(load({pages(0, 16), pages(32, 5)}, [&](uint64_t bytes) {
    seen.push_back(bytes);
    return true;
  }));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 21 * kPageBytes);

  const uint64_t reads_before = disk_.reads_done();
  const auto cancelled = load({pages(0, 64)}, [](uint64_t) { return false; });
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), Code::kCancelled);
  EXPECT_LE(disk_.reads_done() - reads_before, ring_->depth());
  EXPECT_EQ(ring_->in_flight(), 0u);
  EXPECT_TRUE(weights_.read_as_the_file());
}

TEST_F(WeightSpaceTest, APublishedExtentIsOurMemoryAndAWithdrawnOneShowsTheFile) {
  const Extent extent{.file = 0, .pages = pages(5, 6)};
  const Region staging = Region::allocate(8 * kPageBytes, 0).value();
  for (int round = 0; round < 3; ++round) {
    std::memcpy(staging.data(), weights_.expected(extent.pages.offset), extent.pages.bytes);
    ASSERT_TRUE(space_.publish(extent, staging.data()));
    EXPECT_TRUE(weights_.read_as_the_file());
    EXPECT_EQ(weights_.anonymous_bytes(extent.pages), extent.pages.bytes);
    ASSERT_TRUE(space_.withdraw(extent, staging.data()));
    EXPECT_TRUE(weights_.read_as_the_file());
    EXPECT_EQ(weights_.anonymous_bytes(extent.pages), 0u);
    // The same pages came back: nothing was taken anew.
    EXPECT_EQ(std::memcmp(staging.data(), weights_.expected(extent.pages.offset), extent.pages.bytes), 0);
  }
}

TEST_F(WeightSpaceTest, NeighboursArePublishedAndWithdrawnWithoutTouchingEachOther) {
  std::vector<Extent> extents;
  std::vector<Region> staging;
  for (uint64_t i = 0; i < 8; ++i) {
    extents.push_back({.file = 0, .pages = pages(i * 3, 3)});
    staging.push_back(Region::allocate(3 * kPageBytes, 0).value());
    std::memcpy(staging[i].data(), weights_.expected(extents[i].pages.offset), 3 * kPageBytes);
    ASSERT_TRUE(space_.publish(extents[i], staging[i].data()));
  }
  for (const uint64_t i : {3u, 1u, 2u, 7u, 0u, 5u}) {
    ASSERT_TRUE(space_.withdraw(extents[i], staging[i].data())) << i;
    ASSERT_TRUE(weights_.read_as_the_file()) << i;
  }
  EXPECT_EQ(weights_.anonymous_bytes(pages(0, 24)), 2 * 3 * kPageBytes);
}

}  // namespace
}  // namespace spillway
