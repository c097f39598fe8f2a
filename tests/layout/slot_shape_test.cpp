// SPDX-License-Identifier: MIT
#include "layout/slot_shape.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace spillway {
namespace {

constexpr BlockAlignment kPages{kPageBytes, kPageBytes}, kSectors{kPageBytes, 512}, kFine{512, 512};

TEST(SlotShape, SlicesOfWholeBlocksAreReadInPlaceWhereverTheFirstBegins) {
  const SlotShape slot = slot_shape({3 * kPageBytes + 160, 8 * 64 * KiB}, 8, {}, kPages);
  EXPECT_EQ(slot.part_bytes, 0u);
  EXPECT_EQ(slot.data_offset, 160u);
  EXPECT_EQ(slot.room_bytes, 64 * KiB + kPageBytes);
}

TEST(SlotShape, ATensorOfOneSliceIsReadInPlaceWhateverItsLength) {
  const SlotShape slot = slot_shape({kPageBytes + 32, 1'000'001}, 1, {}, kPages);
  EXPECT_EQ(slot.part_bytes, 0u);
  EXPECT_EQ(slot.data_offset, 32u);
  EXPECT_EQ(slot.room_bytes % kPageBytes, 0u);
  EXPECT_GE(slot.room_bytes, 32u + 1'000'001u);
}

// As gpt-oss has them: no multiple of 4096, but of 512.
TEST(SlotShape, SlicesOfOddLengthGoToAShiftedAddressWhereTheDiskTakesIt) {
  constexpr uint64_t kSlice = 4'406'400 / 512 * 512;
  constexpr uint32_t kSlices = 7;
  const ByteRange range{kPageBytes * 5 + 96, kSlices * kSlice};
  const SlotShape slot = slot_shape(range, kSlices, {}, kSectors);
  EXPECT_EQ(slot.part_bytes, 0u);
  for (uint64_t s = 0; s < kSlices; ++s) {
    const uint64_t begin = range.offset + s * kSlice;
    const uint64_t read_begin = round_down(begin, kSectors.offset),
                   read_end = round_up(begin + kSlice, kSectors.offset);
    const uint64_t before = begin - read_begin;  // bytes that are read ahead of the data
    ASSERT_GE(slot.data_offset, before) << s;
    EXPECT_EQ((slot.data_offset - before) % kSectors.memory, 0u) << s;
    EXPECT_LE(slot.data_offset - before + (read_end - read_begin), slot.room_bytes) << s;
  }
}

TEST(SlotShape, WhereTheDiskDoesNotTheyAreStaged) {
  const SlotShape slot = slot_shape({0, 7 * 4'406'400}, 7, {}, kPages);
  EXPECT_GT(slot.part_bytes, 0u);
  EXPECT_EQ(slot.data_offset, 0u);
  EXPECT_EQ(slot.room_bytes, round_up(4'406'400, kPageBytes));
}

TEST(SlotShape, AFineGrainedDiskNeedsNoShiftForSlicesOfItsBlocks) {
  const SlotShape slot = slot_shape({512 * 3, 4 * 512 * 1001}, 4, {}, kFine);
  EXPECT_EQ(slot.part_bytes, 0u);
  EXPECT_EQ(slot.data_offset, 0u);
}

TEST(SlotShape, AnotherFormIsAlwaysStagedInPartsThatItsKernelsTake) {
  const WeightShape repacked{.form = Form::kRepacked, .slot_bytes = 3 * MiB, .part_unit_bytes = 5000};
  const SlotShape slot = slot_shape({0, 4 * 2 * MiB}, 4, repacked, kPages);
  EXPECT_EQ(slot.part_bytes % 5000, 0u);
  EXPECT_GT(slot.part_bytes, 0u);
  EXPECT_LE(slot.part_bytes, 1 * MiB);
  EXPECT_EQ(slot.room_bytes, 3 * MiB);
  const WeightShape whole{.form = Form::kRepacked, .slot_bytes = 3 * MiB, .part_unit_bytes = 0};
  EXPECT_EQ(slot_shape({0, 4 * 2 * MiB}, 4, whole, kPages).part_bytes, 2 * MiB);
}

}  // namespace
}  // namespace spillway
