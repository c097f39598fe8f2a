// SPDX-License-Identifier: MIT
#include "engine/pool_deal.h"

#include <gmock/gmock.h>

#include <numeric>

#include "base/bytes.h"
#include "plan/tuning.h"
#include "store/page_pool.h"

namespace spillway {
namespace {

using testing::ElementsAre;

// `n_ring` dense extents of 8 MiB with `ring_slots`, `n_experts` of 2 MiB with `expert_slots`.
Layout layout_of(uint32_t n_ring, uint32_t ring_slots, uint32_t n_experts, uint32_t expert_slots) {
  Layout layout;
  uint64_t at = 0;
  const auto add = [&](uint32_t n, uint64_t bytes, Pool pool) {
    for (; n > 0; --n, at += bytes) layout.extents.push_back({.file = 0, .pages = {at, bytes}, .pool = pool});
  };
  add(n_ring, 8 * MiB, Pool::kRing);
  add(n_experts, 2 * MiB, Pool::kExperts);
  layout.slot_class = choose_slot_classes(layout.extents).class_of;
  if (n_ring > 0) layout.n_slots.push_back(ring_slots);
  if (n_experts > 0) layout.n_slots.push_back(expert_slots);
  return layout;
}

TEST(PoolDeal, WithThePlansMemoryItIsThePlansDeal) {
  const PoolDeal deal(layout_of(20, 6, 100, 30), 4);
  EXPECT_THAT(deal.slots((6 * 8 + 30 * 2) * MiB), ElementsAre(6, 30));
}

TEST(PoolDeal, ExpertsGiveWayBeforeTheRingAndBothStopAtWhatOneOperationNeeds) {
  const PoolDeal deal(layout_of(20, 6, 100, 30), 4);  // at least 2 and 8
  EXPECT_EQ(deal.bytes_min(), (2 * 8 + 8 * 2) * MiB);
  EXPECT_THAT(deal.slots((6 * 8 + 8 * 2) * MiB), ElementsAre(6, 8));
  EXPECT_THAT(deal.slots((4 * 8 + 8 * 2) * MiB), ElementsAre(4, 8));
  EXPECT_THAT(deal.slots(deal.bytes_min()), ElementsAre(2, 8));
  EXPECT_THAT(deal.slots(0), ElementsAre(2, 8));
}

TEST(PoolDeal, MoreThanThePlanGoesToTheExpertsAndWithoutAnyToTheRing) {
  EXPECT_THAT(PoolDeal(layout_of(20, 6, 100, 30), 4).slots(UINT64_MAX / 2), ElementsAre(6, 100));
  const PoolDeal dense(layout_of(20, 6, 0, 0), 0);
  EXPECT_THAT(dense.slots(10 * 8 * MiB), ElementsAre(10));
  EXPECT_THAT(dense.slots(UINT64_MAX / 2), ElementsAre(20));
  EXPECT_THAT(dense.slots(1), ElementsAre(2));
}

TEST(PoolDeal, NoDealTakesMoreThanItWasGiven) {
  const PoolDeal deal(layout_of(20, 6, 100, 30), 4);
  for (uint64_t bytes = deal.bytes_min(); bytes <= deal.bytes_max() + 4 * MiB; bytes += MiB) {
    const std::vector<uint32_t> n_slots = deal.slots(bytes);
    EXPECT_LE((n_slots[0] * 8 + n_slots[1] * 2) * MiB, bytes);
    EXPECT_GT((n_slots[0] * 8 + n_slots[1] * 2) * MiB + 8 * MiB, std::min(bytes, (6 * 8 + 100 * 2) * MiB));
  }
}

TEST(TokensPerPass, AreCutSoThatOneLayersExpertsFitAndOnlyThen) {
  GgufModel model;
  model.n_expert_used = 4;
  model.tensors.emplace_back().slices = 100;
  Placement placement;
  placement.tiers = {Tier::kExperts};
  Layout layout = layout_of(0, 0, 100, 30);
  layout.first_extent = {0};
  EXPECT_EQ(tokens_per_pass_max(model, placement, layout, layout.n_slots), 7u);
  EXPECT_EQ(tokens_per_pass_max(model, placement, layout, std::vector<uint32_t>{2}), 1u);
  EXPECT_EQ(tokens_per_pass_max(model, placement, layout, std::vector<uint32_t>{100}), 0u);
}

}  // namespace
}  // namespace spillway
