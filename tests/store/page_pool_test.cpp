// SPDX-License-Identifier: MIT
#include "store/page_pool.h"

#include <gmock/gmock.h>

#include <numeric>
#include <random>
#include <set>

#include "base/bytes.h"
#include "sim_weights.h"
#include "store/tuning.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Extent extent_of(uint64_t pages, Pool pool) { return {.file = 0, .pages = {0, pages * kPageBytes}, .pool = pool}; }

TEST(SlotClasses, LengthsThatFillASlotWellShareItAndPoolsNeverDo) {
  const SlotClasses classes =
      choose_slot_classes({extent_of(100, Pool::kExperts), extent_of(95, Pool::kExperts), extent_of(89, Pool::kExperts),
                           extent_of(100, Pool::kRing), extent_of(10, Pool::kExperts), extent_of(100, Pool::kExperts)});
  ASSERT_EQ(classes.slot_bytes.size(), 4u);
  EXPECT_EQ(classes.class_of[0], classes.class_of[1]);
  EXPECT_EQ(classes.class_of[0], classes.class_of[5]);
  EXPECT_NE(classes.class_of[0], classes.class_of[2]);
  EXPECT_NE(classes.class_of[0], classes.class_of[3]);
  EXPECT_NE(classes.class_of[2], classes.class_of[4]);
}

TEST(SlotClasses, SlotsOfTheRingAreWholeHugePagesWhereThatCostsLittle) {
  constexpr uint64_t kHuge = kHugePageBytes / kPageBytes;
  const auto slot_pages_for = [](uint64_t pages, Pool pool) {
    return choose_slot_classes({extent_of(pages, pool)}).slot_bytes.at(0) / kPageBytes;
  };
  EXPECT_EQ(slot_pages_for(15 * kHuge + 1, Pool::kRing), 16 * kHuge);
  EXPECT_EQ(slot_pages_for(16 * kHuge, Pool::kRing), 16 * kHuge);
  EXPECT_EQ(slot_pages_for(2 * kHuge + kHuge / 2, Pool::kRing), 2 * kHuge + kHuge / 2);  // a fifth more
  EXPECT_EQ(slot_pages_for(15 * kHuge + 1, Pool::kExperts), 15 * kHuge + 1);
}

TEST(SlotClasses, NoExtentsNeedNoClasses) { EXPECT_THAT(choose_slot_classes({}).slot_bytes, IsEmpty()); }

TEST(SlotClasses, EveryExtentFitsItsSlotAndLeavesLittleOfItIdle) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 200; ++round) {
    std::vector<Extent> extents;
    for (uint64_t i = random() % 60; i > 0; --i)
      extents.push_back(extent_of(1 + random() % 300, random() % 2 == 0 ? Pool::kRing : Pool::kExperts));
    const SlotClasses classes = choose_slot_classes(extents);
    ASSERT_EQ(classes.class_of.size(), extents.size());
    std::vector<std::set<Pool>> pools(classes.slot_bytes.size());
    for (size_t i = 0; i < extents.size(); ++i) {
      const uint64_t slot_bytes = classes.slot_bytes.at(classes.class_of[i]);
      EXPECT_LE(extents[i].pages.bytes, slot_bytes);
      EXPECT_GE(static_cast<double>(extents[i].pages.bytes), kSlotFillMin * static_cast<double>(slot_bytes));
      pools[classes.class_of[i]].insert(extents[i].pool);
    }
    for (const auto& users : pools) EXPECT_EQ(users.size(), 1u);
  }
}

struct Deal {
  std::vector<uint64_t> slot_bytes;
  std::vector<uint32_t> n_extents, slots_min;

  std::vector<uint32_t> with(uint64_t budget_bytes) const {
    return deal_slots(slot_bytes, n_extents, slots_min, budget_bytes);
  }
  uint64_t bytes_of(const std::vector<uint32_t>& n_slots) const {
    return std::inner_product(n_slots.begin(), n_slots.end(), slot_bytes.begin(), uint64_t{0});
  }
  uint32_t least(size_t c) const { return std::min(slots_min[c], n_extents[c]); }
};

TEST(DealSlots, LessThanTheMinimumIsNoDeal) {
  const Deal deal{.slot_bytes = {10, 4}, .n_extents = {8, 8}, .slots_min = {2, 3}};
  EXPECT_THAT(deal.with(31), IsEmpty());
  EXPECT_THAT(deal.with(32), ElementsAre(2, 3));
}

TEST(DealSlots, NoClassGetsMoreSlotsThanExtents) {
  const Deal deal{.slot_bytes = {10, 4}, .n_extents = {3, 2}, .slots_min = {8, 8}};
  EXPECT_THAT(deal.with(1'000'000), ElementsAre(3, 2));
  EXPECT_THAT(deal.with(38), ElementsAre(3, 2));
  EXPECT_THAT(deal.with(37), IsEmpty());
}

TEST(DealSlots, KeepsTheBudgetAndTheMinimumGivesEachClassItsShareAndLeavesNoRoomForASlot) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 2000; ++round) {
    Deal deal;
    uint64_t least_bytes = 0, all_bytes = 0;
    for (uint64_t c = 0; c < 1 + random() % 5; ++c) {
      deal.slot_bytes.push_back((1 + random() % 500) * kPageBytes);
      deal.n_extents.push_back(1 + static_cast<uint32_t>(random() % 200));
      deal.slots_min.push_back(1 + static_cast<uint32_t>(random() % 20));
      least_bytes += deal.least(c) * deal.slot_bytes[c];
      all_bytes += deal.n_extents[c] * deal.slot_bytes[c];
    }
    const uint64_t budget_bytes = least_bytes + random() % (all_bytes - least_bytes + 2 * MiB);
    const std::vector<uint32_t> n_slots = deal.with(budget_bytes);
    ASSERT_EQ(n_slots.size(), deal.slot_bytes.size());
    const uint64_t used_bytes = deal.bytes_of(n_slots);
    ASSERT_LE(used_bytes, budget_bytes);
    const double share = all_bytes == least_bytes ? 1
                                                  : std::min(1.0, static_cast<double>(budget_bytes - least_bytes) /
                                                                      static_cast<double>(all_bytes - least_bytes));
    for (size_t c = 0; c < n_slots.size(); ++c) {
      EXPECT_GE(n_slots[c], deal.least(c));
      EXPECT_LE(n_slots[c], deal.n_extents[c]);
      EXPECT_GT(n_slots[c] + 1, deal.least(c) + share * (deal.n_extents[c] - deal.least(c)) - 1e-6);
      EXPECT_TRUE(n_slots[c] == deal.n_extents[c] || used_bytes + deal.slot_bytes[c] > budget_bytes);
    }
  }
}

TEST(DealSlots, MoreBudgetNeverUsesLessThanASlotLess) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  const Deal one{.slot_bytes = {7 * kPageBytes}, .n_extents = {100}, .slots_min = {4}};
  const Deal three{.slot_bytes = {70, 51, 13}, .n_extents = {40, 90, 200}, .slots_min = {2, 2, 2}};
  uint64_t before = 0, one_before = 0;
  for (uint64_t budget_bytes = 268; budget_bytes < 10'100; ++budget_bytes) {
    const uint64_t used_bytes = three.bytes_of(three.with(budget_bytes));
    EXPECT_GT(used_bytes + 13, before) << budget_bytes;
    before = std::max(before, used_bytes);
    const uint64_t one_bytes = one.bytes_of(one.with(budget_bytes * kPageBytes));
    EXPECT_GE(one_bytes, one_before);
    one_before = one_bytes;
  }
  EXPECT_EQ(before, 70u * 40 + 51 * 90 + 13 * 200);
}

TEST(PagePool, HandsOutEachSlotOnceAndNoMoreThanItHas) {
  PagePool pool({2 * kPageBytes, kPageBytes}, {3, 2});
  EXPECT_EQ(pool.bytes_max(), 8 * kPageBytes);
  std::set<SlotId> taken;
  std::set<std::byte*> addresses;
  for (const uint32_t slot_class : {0u, 1u, 0u, 1u, 0u}) {
    const SlotId slot = pool.take(slot_class).value();
    ASSERT_NE(slot, SlotId::kNone);
    EXPECT_TRUE(taken.insert(slot).second);
    EXPECT_TRUE(addresses.insert(pool.staging(slot)).second);
  }
  EXPECT_EQ(pool.take(0).value(), SlotId::kNone);
  EXPECT_EQ(pool.take(1).value(), SlotId::kNone);
  const SlotId given_back = *taken.begin();
  pool.give_back(given_back);
  EXPECT_EQ(pool.take(0).value(), given_back);
  EXPECT_EQ(pool.take(0).value(), SlotId::kNone);
}

TEST(PagePool, AClassThatShrinksGivesUpFreeSlotsOnlyAndMakesThemAgainWhenItGrows) {
  PagePool pool({2 * kPageBytes, kPageBytes}, {3, 1});
  const SlotId first = pool.take(0).value(), second = pool.take(0).value(), other = pool.take(1).value();
  EXPECT_EQ(pool.bytes_made(), 5 * kPageBytes);
  EXPECT_EQ(pool.take_surplus(0), SlotId::kNone);
  pool.set_n_slots(0, 1);
  EXPECT_TRUE(pool.has_surplus(0));
  EXPECT_FALSE(pool.has_surplus(1));
  EXPECT_EQ(pool.take_surplus(0), SlotId::kNone) << "both are in use";
  EXPECT_EQ(pool.take(0).value(), SlotId::kNone);
  pool.give_back(second);
  ASSERT_EQ(pool.take_surplus(0), second);
  EXPECT_EQ(pool.remove(second).bytes(), 2 * kPageBytes);
  EXPECT_FALSE(pool.has_surplus(0));
  EXPECT_EQ(pool.bytes_made(), 3 * kPageBytes);
  EXPECT_EQ(pool.bytes_max(), 3 * kPageBytes);
  pool.give_back(first);
  EXPECT_EQ(pool.take_surplus(0), SlotId::kNone) << "one may stay";
  EXPECT_EQ(pool.take(0).value(), first);
  pool.set_n_slots(0, 2);
  EXPECT_EQ(pool.take(0).value(), second) << "its number is used again";
  EXPECT_NE(pool.staging(second), nullptr);
  EXPECT_NE(pool.staging(second), pool.staging(other));
}

}  // namespace
}  // namespace spillway
