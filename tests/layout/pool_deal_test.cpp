// SPDX-License-Identifier: MIT
#include "layout/pool_deal.h"

#include <gmock/gmock.h>

#include "base/bytes.h"
#include "layout/tuning.h"

namespace spillway {
namespace {

using testing::ElementsAre;

constexpr auto kRouted = PassKind::kRouted;
constexpr auto kWhole = PassKind::kWhole;

// `n_ring` dense extents of 8 MiB with `ring_slots`, `n_experts` of 2 MiB with `expert_slots`, four of them used at
// once; and whole tensors of `whole_bytes`.
Layout layout_of(uint32_t n_ring, uint32_t ring_slots, uint32_t n_experts, uint32_t expert_slots,
                 uint64_t whole_bytes = 0) {
  Layout layout;
  const auto add = [&](Pool pool, uint64_t bytes, uint32_t n, uint32_t n_slots, uint32_t n_slots_min) {
    if (n == 0) return;
    layout.classes.push_back({.pool = pool, .slot_bytes = bytes, .n_extents = n, .n_slots_min = n_slots_min});
    layout.n_slots.push_back(n_slots);
    layout.pool_bytes += n_slots * bytes;
  };
  add(Pool::kExperts, 2 * MiB, n_experts, expert_slots, static_cast<uint32_t>(expert_slots_min(4)));
  add(Pool::kRing, 8 * MiB, n_ring, ring_slots, kRingSlotsMin);
  if (whole_bytes > 0) add(Pool::kWhole, whole_bytes, 10, 0, 0);
  return layout;
}

TEST(PoolDeal, WithThePlansMemoryItIsThePlansDeal) {
  const PoolDeal deal(layout_of(20, 6, 100, 30));
  EXPECT_THAT(deal.slots((6 * 8 + 30 * 2) * MiB, kRouted), ElementsAre(30, 6));
}

TEST(PoolDeal, ExpertsGiveWayBeforeTheRingAndBothStopAtWhatOneOperationNeeds) {
  const PoolDeal deal(layout_of(20, 6, 100, 30));
  EXPECT_EQ(deal.bytes_min(), (2 * 8 + 8 * 2) * MiB);
  EXPECT_THAT(deal.slots((6 * 8 + 8 * 2) * MiB, kRouted), ElementsAre(8, 6));
  EXPECT_THAT(deal.slots((4 * 8 + 8 * 2) * MiB, kRouted), ElementsAre(8, 4));
  EXPECT_THAT(deal.slots(deal.bytes_min(), kRouted), ElementsAre(8, 2));
  EXPECT_THAT(deal.slots(1, kRouted), ElementsAre(8, 2));
  EXPECT_THAT(deal.slots(0, kRouted), ElementsAre(0, 0));
}

TEST(PoolDeal, MoreThanThePlanGoesToTheExpertsAndWithoutAnyToTheRing) {
  EXPECT_THAT(PoolDeal(layout_of(20, 6, 100, 30)).slots(UINT64_MAX / 2, kRouted), ElementsAre(100, 6));
  const PoolDeal dense(layout_of(20, 6, 0, 0));
  EXPECT_THAT(dense.slots(10 * 8 * MiB, kRouted), ElementsAre(10));
  EXPECT_THAT(dense.slots(UINT64_MAX / 2, kRouted), ElementsAre(20));
  EXPECT_THAT(dense.slots(1, kRouted), ElementsAre(2));
}

TEST(PoolDeal, NoDealTakesMoreThanItWasGiven) {
  const PoolDeal deal(layout_of(20, 6, 100, 30, 16 * MiB));
  for (const PassKind kind : {kRouted, kWhole})
    for (uint64_t bytes = deal.bytes_min(); bytes <= deal.bytes_max() + 64 * MiB; bytes += MiB) {
      const uint64_t dealt = deal.bytes(deal.slots(bytes, kind));
      EXPECT_LE(dealt, bytes);
      EXPECT_GT(dealt + 16 * MiB, std::min(bytes, (6 * 8 + 100 * 2) * MiB)) << bytes;
    }
}

TEST(PoolDeal, ForWholeTensorsTheExpertsMakeRoomWhereTheyKeepTheirs) {
  const PoolDeal deal(layout_of(20, 6, 100, 90, 16 * MiB));
  const uint64_t planned_bytes = (6 * 8 + 90 * 2) * MiB;
  ASSERT_TRUE(deal.has_room_for_whole(planned_bytes));
  EXPECT_THAT(deal.slots(planned_bytes, kRouted), ElementsAre(90, 6, 0));
  EXPECT_THAT(deal.slots(planned_bytes, kWhole), ElementsAre(90 - kWholeSlots * 8, 6, kWholeSlots));
  EXPECT_FALSE(deal.has_room_for_whole(deal.bytes_min()));
  EXPECT_THAT(deal.slots(deal.bytes_min(), kWhole), ElementsAre(8, 2, 0));
}

TEST(TokensPerPass, AreCutSoThatOneLayersExpertsFitAndOnlyThen) {
  std::vector<TensorInfo> tensors(1);
  tensors[0].slices = 100;
  Layout layout = layout_of(0, 0, 100, 30);
  layout.tiers = {Tier::kExperts};
  layout.first_extent = {0};
  layout.extents.resize(100);
  const auto tokens = [&](uint32_t n_slots) {
    return routed_tokens_max(layout, tensors, 4, std::vector<uint32_t>{n_slots});
  };
  EXPECT_EQ(tokens(30), 7u);
  EXPECT_EQ(tokens(2), 1u);
  EXPECT_EQ(tokens(100), 0u);
}

}  // namespace
}  // namespace spillway
