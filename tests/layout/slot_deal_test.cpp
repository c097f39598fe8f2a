// SPDX-License-Identifier: MIT
#include "layout/slot_deal.h"

#include <gmock/gmock.h>

#include "base/bytes.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<SlotClass> two_classes() {
  return {{.pool = Pool::kExperts, .slot_bytes = 3 * MiB, .n_extents = 100, .n_slots_min = 4},
          {.pool = Pool::kExperts, .slot_bytes = 1 * MiB, .n_extents = 50, .n_slots_min = 4}};
}

uint64_t bytes_of(const std::vector<SlotClass>& classes, const std::vector<uint32_t>& n_slots, uint64_t unit_bytes) {
  uint64_t sum = 0;
  for (size_t c = 0; c < classes.size(); ++c) sum += area_bytes(classes[c], n_slots[c], unit_bytes);
  return sum;
}

TEST(SlotDeal, NearLengthsShareTheLongestOnesSlots) {
  std::vector<SlotClass> classes;
  const std::vector<uint32_t> class_of =
      add_classes({4 * MiB, 1 * MiB, 4 * MiB - kPageBytes, 3 * MiB}, Pool::kExperts, classes);
  EXPECT_THAT(class_of, ElementsAre(0, 2, 0, 1));
  ASSERT_EQ(classes.size(), 3u);
  EXPECT_EQ(classes[0].slot_bytes, 4 * MiB);
  EXPECT_EQ(classes[1].slot_bytes, 3 * MiB);
  EXPECT_EQ(classes[2].slot_bytes, 1 * MiB);
}

TEST(SlotDeal, AnAreaIsChargedInWholeUnits) {
  const SlotClass slots{.slot_bytes = 3 * MiB};
  EXPECT_EQ(area_bytes(slots, 0, kHugePageBytes), 0u);
  EXPECT_EQ(area_bytes(slots, 1, kHugePageBytes), 4 * MiB);
  EXPECT_EQ(area_bytes(slots, 2, kHugePageBytes), 6 * MiB);
  EXPECT_EQ(area_bytes(slots, 1, kPageBytes), 3 * MiB);
}

TEST(SlotDeal, LessThanTheLeastDealsNothing) {
  const auto classes = two_classes();
  const std::vector<uint32_t> all = {100, 50};
  EXPECT_THAT(deal_slots(classes, Pool::kExperts, all, 16 * MiB - 1, kPageBytes), IsEmpty());
  EXPECT_THAT(deal_slots(classes, Pool::kExperts, all, 16 * MiB, kPageBytes), ElementsAre(4, 4));
}

TEST(SlotDeal, EverythingFitsWhereThereIsRoomAndOtherPoolsGetNone) {
  auto classes = two_classes();
  classes.push_back({.pool = Pool::kRing, .slot_bytes = 8 * MiB, .n_extents = 9, .n_slots_min = 2});
  EXPECT_THAT(deal_slots(classes, Pool::kExperts, {100, 50, 9}, 10 * GiB, kHugePageBytes), ElementsAre(100, 50, 0));
}

TEST(SlotDeal, NoDealExceedsItsMemoryNorLeavesASlotsWorthUnused) {
  const auto classes = two_classes();
  const std::vector<uint32_t> all = {100, 50};
  for (const uint64_t unit_bytes : {kPageBytes, kHugePageBytes})
    for (uint64_t budget = 18 * MiB; budget < 360 * MiB; budget += 1234567) {
      const auto n_slots = deal_slots(classes, Pool::kExperts, all, budget, unit_bytes);
      ASSERT_FALSE(n_slots.empty());
      const uint64_t used = bytes_of(classes, n_slots, unit_bytes);
      EXPECT_LE(used, budget);
      EXPECT_GT(used + 3 * MiB + unit_bytes, std::min(budget, bytes_of(classes, all, unit_bytes)));
    }
}

}  // namespace
}  // namespace spillway
