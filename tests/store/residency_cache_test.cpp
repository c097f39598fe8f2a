// SPDX-License-Identifier: MIT
// What is resident, held and read next: bookkeeping alone.
#include "store/residency_cache.h"

#include <gmock/gmock.h>

#include <random>

#include "../os/temp_folder.h"
#include "cache_bench.h"
#include "store/tuning.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;
using testing::UnorderedElementsAreArray;
using HoldState = ResidencyCache::HoldState;
using Work = ResidencyCache::Work;

// --- holds ---

TEST(ResidencyCache, AHoldWaitsForItsReadsAndIsReadyThen) {
  CacheBench bench({{Pool::kExperts, 8, 3}});
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({2, 5}), false, hold);
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kWaiting);
  EXPECT_THAT(bench.begin_reads(), ElementsAre(ExtentId{2}, ExtentId{5}));
  bench.finish(0);
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kWaiting);
  bench.finish(0);
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kReady);
  EXPECT_EQ(bench.cache().stats().misses, 2u);
  EXPECT_EQ(bench.cache().stats().hits, 0u);
}

TEST(ResidencyCache, HeldExtentsSurviveAnyPressure) {
  CacheBench bench({{Pool::kExperts, 40, 5}, {Pool::kRing, 40, 5}});
  for (const uint32_t first : {0u, 40u}) {
    const Ids held = ids_from(first + 4, 4);
    ResidencyCache::Hold hold;
    bench.cache().hold(held, false, hold);
    bench.settle();
    bench.cache().request(ids_from(first, 40), Priority::kDemand, false);
    for (uint32_t n = first; n < first + 40; ++n) {
      if (n >= first + 4 && n < first + 8) continue;
      bench.use(ids({n}));
      for (const ExtentId id : held) ASSERT_TRUE(bench.is_where_it_should_be(id));
    }
    bench.cache().let_go(held);
  }
}

TEST(ResidencyCache, AnExtentHeldTwiceStaysUntilItIsLetGoTwice) {
  CacheBench bench({{Pool::kExperts, 3, 1}});
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({0}), false, hold);
  bench.cache().hold(ids({0}), false, hold);
  bench.settle();
  bench.cache().let_go(ids({0}));
  bench.cache().request(ids({1}), Priority::kDemand, false);
  bench.settle();
  EXPECT_THAT(bench.resident(), ElementsAre(ExtentId{0}));
  bench.cache().let_go(ids({0}));
  bench.settle();
  EXPECT_THAT(bench.resident(), ElementsAre(ExtentId{1}));
}

TEST(ResidencyCache, WhatIsHeldCountsWhenMoreIsWanted) {
  CacheBench bench({{Pool::kExperts, 10, 3}, {Pool::kRing, 10, 2}});
  EXPECT_TRUE(bench.cache().can_hold(ids({0, 1, 2, 10, 11})));
  EXPECT_FALSE(bench.cache().can_hold(ids({0, 1, 2, 3})));
  EXPECT_FALSE(bench.cache().can_hold(ids({0, 10, 11, 12})));
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({0, 1}), false, hold);
  EXPECT_EQ(bench.cache().n_free_of_holds(0), 1u);
  EXPECT_TRUE(bench.cache().can_hold(ids({0, 1, 2}))) << "those two are held already";
  EXPECT_FALSE(bench.cache().can_hold(ids({2, 3})));
}

TEST(ResidencyCache, AFailedReadFailsTheHoldThatBeganBeforeIt) {
  CacheBench bench({{Pool::kExperts, 4, 2}});
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({1}), false, hold);
  bench.begin_all();
  bench.finish(0, true);
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kFailed);
  bench.cache().let_go(ids({1}));
  EXPECT_THAT(bench.begin_reads(), IsEmpty()) << "nobody wants it any more";
  bench.use(ids({1}));
}

TEST(ResidencyCache, AReadThatWasUnderWayBeforeTheHoldIsMadeAgain) {
  CacheBench bench({{Pool::kExperts, 4, 2}});
  bench.cache().request(ids({1}), Priority::kCertain, false);
  bench.begin_all();
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({1}), false, hold);
  bench.finish(0, true);
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kWaiting);
  EXPECT_THAT(bench.begin_reads(), ElementsAre(ExtentId{1}));
  bench.finish(0, true);
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kFailed);
}

// --- what is read next ---

TEST(ResidencyCache, DemandComesFirstThenWhatIsCertain) {
  CacheBench bench({{Pool::kExperts, 20, 20}});
  bench.cache().request(ids({9}), Priority::kSpeculative, false);
  bench.cache().request(ids({8}), Priority::kLikely, false);
  bench.cache().request(ids({6, 7}), Priority::kCertain, false);
  bench.cache().request(ids({5, 4}), Priority::kDemand, false);
  EXPECT_THAT(bench.begin_reads(), ElementsAreArray(ids({5, 4, 6, 7})));
}

TEST(ResidencyCache, GuessesAreReadWhileNobodyWaitsAndFewAtATime) {
  CacheBench bench({{Pool::kExperts, 20, 20}});
  bench.cache().request(ids_from(0, 10), Priority::kLikely, false);
  bench.cache().request(ids({15}), Priority::kDemand, false);
  EXPECT_THAT(bench.begin_reads(), ElementsAre(ExtentId{15}));
  bench.finish(0);
  EXPECT_THAT(bench.begin_reads(), SizeIs(kLikelyBytesInFlight / CacheBench::kBytes));
  bench.cache().request(ids({16}), Priority::kDemand, false);
  EXPECT_THAT(bench.begin_reads(), ElementsAre(ExtentId{16}));
  bench.finish(0);
  EXPECT_THAT(bench.begin_reads(), IsEmpty()) << "somebody waits for 16";
}

TEST(ResidencyCache, AGuessThatSomebodyWaitsForIsDemand) {
  CacheBench bench({{Pool::kExperts, 20, 20}});
  bench.cache().request(ids_from(0, 10), Priority::kLikely, false);
  EXPECT_THAT(bench.begin_reads(), SizeIs(4));
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({0}), false, hold);
  while (bench.n_under_way() > 1) bench.finish(1);
  EXPECT_THAT(bench.begin_reads(), IsEmpty());
  bench.finish(0);
  EXPECT_THAT(bench.begin_reads(), SizeIs(4));
}

TEST(ResidencyCache, SpeculationFillsFreeMemoryAndNoMore) {
  CacheBench bench({{Pool::kExperts, 10, 4}});
  bench.use(ids({0}));
  bench.cache().request(ids_from(1, 9), Priority::kSpeculative, false);
  bench.settle();
  EXPECT_THAT(bench.resident(), UnorderedElementsAreArray(ids({0, 1, 2, 3})));
}

TEST(ResidencyCache, ACancelledGuessIsNotReadAndMayGo) {
  CacheBench bench({{Pool::kExperts, 10, 4}});
  bench.cache().request(ids({0}), Priority::kLikely, false);
  bench.settle();
  bench.cache().request(ids({1}), Priority::kLikely, false);
  bench.cache().cancel(ids({0, 1}));
  EXPECT_THAT(bench.begin_reads(), IsEmpty());
  bench.use(ids({2, 3, 4, 5}));
  EXPECT_EQ(bench.cache().stats().bytes_wasted, CacheBench::kBytes);
}

TEST(ResidencyCache, WhatAPassAskedForIsForgottenWhenItEndsAndTheRingGoesOn) {
  CacheBench bench({{Pool::kExperts, 10, 4}, {Pool::kRing, 4, 2}});
  bench.cache().request(ids({3}), Priority::kDemand, false);
  bench.cache().request(ids({4}), Priority::kLikely, false);
  bench.cache().request(ids({10}), Priority::kCertain, false);
  bench.cache().drop_interest();
  EXPECT_THAT(bench.begin_reads(), ElementsAre(ExtentId{10}));
}

// The ring's order of use is learned by letting go: each goes behind all others, over the end of a pass.
TEST(ResidencyCache, TheRingIsReadAheadInTheOrderOfUse) {
  CacheBench bench({{Pool::kRing, 6, 3}});
  for (const uint32_t n : {4u, 0u, 5u, 1u, 3u, 2u}) bench.use(ids({n}));
  bench.settle();
  ResidencyCache::Hold hold;
  for (const uint32_t n : {4u, 0u, 5u, 1u, 3u, 2u, 4u, 0u}) {
    EXPECT_TRUE(bench.cache().is_resident(ExtentId{n})) << n;
    bench.cache().hold(ids({n}), false, hold);
    bench.cache().let_go(ids({n}));
    bench.settle();
  }
}

TEST(ResidencyCache, WhoIsWaitedForTakesTheSlotOfWhatWasReadAhead) {
  CacheBench bench({{Pool::kRing, 6, 2}});
  bench.cache().request(ids({0, 1, 2, 3}), Priority::kCertain, false);
  bench.settle();
  EXPECT_THAT(bench.resident(), ElementsAre(ExtentId{0}, ExtentId{1}));
  bench.use(ids({5}));
  EXPECT_TRUE(bench.cache().is_resident(ExtentId{0})) << "the latest of what was read ahead goes";
  bench.settle();
  EXPECT_THAT(bench.resident(), UnorderedElementsAre(ExtentId{0}, ExtentId{1})) << "and is read again";
}

// --- who goes ---

TEST(ResidencyCache, TheExpertThatIsUsedLeastGoes) {
  CacheBench bench({{Pool::kExperts, 4, 3}});
  for (int pass = 0; pass < 8; ++pass) {
    bench.cache().begin_pass();
    bench.use(pass % 2 == 0 ? ids({0, 1}) : ids({0}));
  }
  bench.use(ids({2}));
  bench.cache().begin_pass();
  bench.cache().begin_pass();
  bench.cache().begin_pass();
  bench.use(ids({3}));
  EXPECT_THAT(bench.resident(), UnorderedElementsAre(ExtentId{0}, ExtentId{1}, ExtentId{3}));
}

// Two layers of one expert each that are used alike: whose turn has just been goes, whose turn comes next stays.
TEST(ResidencyCache, OfEqualsTheOneWhoseLayerComesLastGoes) {
  CacheBench bench({{Pool::kExperts, 12, 3, 1}});
  for (int pass = 0; pass < 20; ++pass) {
    bench.cache().begin_pass();
    for (const uint32_t layer : {2u, 5u, 9u}) bench.use(ids({layer}));
  }
  bench.cache().begin_pass();
  bench.use(ids({2}));
  bench.use(ids({3}));
  EXPECT_THAT(bench.resident(), UnorderedElementsAre(ExtentId{3}, ExtentId{5}, ExtentId{9}));
}

TEST(ResidencyCache, AScanDoesNotFlushWhatIsHot) {
  CacheBench bench({{Pool::kExperts, 64, 16, 16}});
  for (int pass = 0; pass < 6; ++pass) {
    bench.cache().begin_pass();
    for (uint32_t layer = 0; layer < 4; ++layer) bench.use(ids({16 * layer, 16 * layer + 1, 16 * layer + 2}));
  }
  bench.cache().begin_pass();
  for (uint32_t n = 0; n < 64; n += 2) bench.use(ids({n, n + 1}), true);
  size_t n_hot = 0;
  for (uint32_t layer = 0; layer < 4; ++layer)
    for (const uint32_t n : {0u, 1u, 2u}) n_hot += bench.cache().is_resident(ExtentId{16 * layer + n});
  EXPECT_GE(n_hot, 10u);
}

// --- sizes ---

TEST(ResidencyCache, FewerSlotsMoveWhatIsHotToThoseThatStay) {
  CacheBench bench({{Pool::kExperts, 8, 6, 8}});
  for (const uint32_t n : {6u, 7u, 0u, 1u, 2u, 3u}) bench.use(ids({n}));  // into slots 0 to 5
  for (int pass = 0; pass < 5; ++pass) {
    bench.cache().begin_pass();
    bench.use(ids({0, 1, 2, 3}));
  }
  bench.resize({4});
  EXPECT_EQ(bench.cache().n_granted(0), 6u) << "it holds what is to be moved";
  for (const ResidencyCache::Step& step : bench.begin_all()) EXPECT_EQ(step.work, Work::kMove);
  bench.settle();
  EXPECT_THAT(bench.resident(), ElementsAreArray(ids({0, 1, 2, 3})));
  EXPECT_EQ(bench.cache().n_granted(0), 4u);
  for (const uint32_t n : {0u, 1u, 2u, 3u}) EXPECT_TRUE(bench.is_where_it_should_be(ExtentId{n}));
  EXPECT_EQ(bench.cache().stats().reads, 6u) << "nothing was read again";
}

TEST(ResidencyCache, WhatIsHeldKeepsItsSlotUntilItIsLetGo) {
  CacheBench bench({{Pool::kExperts, 8, 4}});
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({0, 1, 2}), false, hold);
  bench.settle();
  bench.resize({1});
  bench.settle();
  for (const uint32_t n : {0u, 1u, 2u}) EXPECT_TRUE(bench.is_where_it_should_be(ExtentId{n}));
  EXPECT_FALSE(bench.cache().can_hold(ids({3})));
  bench.cache().let_go(ids({0, 1, 2}));
  bench.settle();
  bench.adjust_memory();
  EXPECT_EQ(bench.cache().n_granted(0), 1u);
  EXPECT_THAT(bench.resident(), SizeIs(1));
}

TEST(ResidencyCache, WhoWaitsKeepsTheSlotsThatHeWasPromised) {
  CacheBench bench({{Pool::kExperts, 8, 4}});
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({0, 1, 2, 3}), false, hold);
  bench.resize({1});
  bench.settle();
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kReady);
}

TEST(ResidencyCache, NothingIsReadIntoSlotsThatHaveNoMemory) {
  CacheBench bench({{Pool::kExperts, 8, 2}});
  bench.cache().set_n_slots(std::vector<uint32_t>{5});
  bench.cache().request(ids_from(0, 5), Priority::kDemand, false);
  EXPECT_THAT(bench.begin_reads(), SizeIs(2));
  bench.adjust_memory();
  EXPECT_THAT(bench.begin_reads(), SizeIs(3));
}

TEST(ResidencyCache, WhoWaitsForMemoryThatThereIsNotFails) {
  CacheBench bench({{Pool::kExperts, 8, 0}});
  bench.cache().set_n_slots(std::vector<uint32_t>{1});
  ResidencyCache::Hold hold;
  bench.cache().hold(ids({0}), false, hold);
  bench.cache().fail_waiting();
  EXPECT_EQ(bench.cache().state_of(hold), HoldState::kFailed);
}

// --- all of a class ---

TEST(ResidencyCache, AClassIsCompleteWhenAllOfItLiesInOrder) {
  CacheBench bench({{Pool::kExperts, 6, 6, 3}});
  for (const uint32_t n : {3u, 1u, 5u, 0u, 2u}) bench.use(ids({n}));
  EXPECT_FALSE(bench.cache().hold_all(0));
  bench.use(ids({4}));
  ASSERT_TRUE(bench.cache().hold_all(0));
  for (uint32_t n = 0; n < 6; ++n) EXPECT_EQ(bench.cache().slot_of(ExtentId{n}), n);
  bench.resize({3});
  EXPECT_THAT(bench.begin_all(), IsEmpty()) << "it is held";
  EXPECT_FALSE(bench.cache().is_complete(0));
  bench.cache().let_go_all(0);
  bench.settle();
  EXPECT_THAT(bench.resident(), SizeIs(3));
}

// --- whole tensors ---

TEST(ResidencyCache, AWholeTensorIsPutTogetherFromWhatIsThere) {
  CacheBench bench({{Pool::kExperts, 8, 3, 4}, {Pool::kWhole, 2, 1, 4}});
  bench.use(ids({1}));
  bench.use(ids({3}));
  bench.use(ids({6}));
  bench.cache().request(ids({8, 9}), Priority::kCertain, true);
  const auto begun = bench.begin_all();
  ASSERT_THAT(begun, SizeIs(1));
  EXPECT_EQ(begun[0].id, ExtentId{8});
  EXPECT_EQ(begun[0].n_slices, 4u);
  EXPECT_THAT(begun[0].copied, ElementsAre(ExtentId{1}, ExtentId{3}));
  // They stay until it has arrived.
  bench.cache().request(ids({0}), Priority::kDemand, false);
  bench.cache().request(ids({2}), Priority::kDemand, false);
  bench.begin_all();
  EXPECT_TRUE(bench.cache().is_resident(ExtentId{1}));
  EXPECT_TRUE(bench.cache().is_resident(ExtentId{3}));
  bench.settle();
  EXPECT_EQ(bench.cache().stats().bytes_copied, 2 * CacheBench::kBytes);
}

TEST(ResidencyCache, WholeTensorsPassThroughTheirSlotsInOrder) {
  CacheBench bench({{Pool::kExperts, 16, 4, 4}, {Pool::kWhole, 4, 2, 4}});
  bench.cache().request(ids_from(16, 4), Priority::kCertain, true);
  for (uint32_t n = 16; n < 20; ++n) {
    bench.settle();
    ASSERT_TRUE(bench.cache().is_resident(ExtentId{n})) << n;
    bench.use(ids({n}), true);
  }
  EXPECT_EQ(bench.cache().stats().reads, 4u);
  EXPECT_EQ(bench.cache().stats().expert_hits + bench.cache().stats().expert_misses, 0u) << "no router asked";
}

// --- everything at once ---

struct Chaos {
  const char* name;
  unsigned fails_of_100;
  bool resize;
};

class RandomOperations : public testing::TestWithParam<Chaos> {};

// The plain model: what is held, and what lies in each slot (CacheBench).
TEST_P(RandomOperations, KeepEveryHoldAndEverySlot) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  const std::vector<Group> groups{
      {Pool::kExperts, 60, 9, 6}, {Pool::kExperts, 40, 6, 8}, {Pool::kRing, 24, 5}, {Pool::kWhole, 5, 2, 8}};
  CacheBench bench(groups);
  ResidencyCache& cache = bench.cache();
  const uint32_t n_extents = cache.n_extents();
  std::vector<ResidencyCache::Hold> holds;
  std::vector<uint32_t> held_classes;
  int ready = 0, failed = 0, refused = 0;
  for (int step = 0; step < 6000; ++step) {
    Ids wanted;
    const auto near = static_cast<uint32_t>(random() % n_extents);
    for (uint64_t n = 1 + random() % 6; n > 0; --n) {
      const ExtentId id{static_cast<uint32_t>(near + random() % 12) % n_extents};
      if (std::find(wanted.begin(), wanted.end(), id) == wanted.end()) wanted.push_back(id);
    }
    const uint64_t what = random() % 100;
    if (what < 15) {
      cache.request(wanted, static_cast<Priority>(random() % kPriorities), random() % 5 == 0);
    } else if (what < 18) {
      cache.cancel(wanted);
    } else if (what < 20) {
      cache.drop_interest();
      cache.begin_pass();
    } else if (what < 22 && GetParam().resize) {
      std::vector<uint32_t> n_slots;
      for (const Group& group : groups)
        n_slots.push_back(static_cast<uint32_t>(random() % 4 == 0 ? random() % (group.n + 1) : group.slots));
      bench.resize(n_slots);
    } else if (what < 24) {
      const auto slot_class = static_cast<uint32_t>(random() % groups.size());
      if (cache.hold_all(slot_class)) held_classes.push_back(slot_class);
    } else if (what < 30) {
      if (!held_classes.empty()) cache.let_go_all(held_classes.back()), held_classes.pop_back();
    } else if (what < 50) {
      if (!cache.can_hold(wanted)) {
        ++refused;
      } else {
        cache.hold(wanted, random() % 5 == 0, holds.emplace_back());
      }
    } else if (what < 65) {
      if (!holds.empty()) {
        const size_t i = random() % holds.size();
        cache.let_go(holds[i].ids);
        holds.erase(holds.begin() + static_cast<ptrdiff_t>(i));
        bench.adjust_memory();
      }
    } else {
      bench.begin_all();
      if (bench.n_under_way() > 0) {
        const size_t i = random() % bench.n_under_way();
        ASSERT_NO_FATAL_FAILURE(bench.finish(i, bench.is_read(i) && random() % 100 < GetParam().fails_of_100));
      }
    }
    for (size_t i = holds.size(); i-- > 0;) {
      const HoldState state = cache.state_of(holds[i]);
      ready += state == HoldState::kReady;
      if (state == HoldState::kReady) {
        for (const ExtentId id : holds[i].ids) ASSERT_TRUE(bench.is_where_it_should_be(id)) << "step " << step;
      }
      if (state != HoldState::kFailed) continue;
      ++failed;
      cache.let_go(holds[i].ids);
      holds.erase(holds.begin() + static_cast<ptrdiff_t>(i));
    }
    uint64_t resident_bytes = 0;
    for (const ExtentId id : bench.resident()) {
      ASSERT_TRUE(bench.is_where_it_should_be(id)) << "step " << step;
      resident_bytes += cache.extent(id).range.bytes;
    }
    ASSERT_LE(resident_bytes, cache.resident_bytes());
  }
  // Whatever happened, everything can still be had.
  for (const auto& hold : holds) cache.let_go(hold.ids);
  for (const uint32_t slot_class : held_classes) cache.let_go_all(slot_class);
  bench.resize({9, 6, 5, 2});
  while (bench.n_under_way() > 0) bench.finish(0);
  for (uint32_t n = 0; n < n_extents; ++n) ASSERT_NO_FATAL_FAILURE(bench.use(ids({n}))) << n;
  EXPECT_GT(ready, 100);
  EXPECT_GT(refused, 10);
  EXPECT_EQ(failed > 0, GetParam().fails_of_100 > 0);
}

INSTANTIATE_TEST_SUITE_P(Disks, RandomOperations,
                         testing::Values(Chaos{"Sound", 0, false}, Chaos{"Resized", 0, true},
                                         Chaos{"Failing", 20, false}, Chaos{"FailingAndResized", 30, true}),
                         [](const auto& chaos) { return chaos.param.name; });

}  // namespace
}  // namespace spillway
