// SPDX-License-Identifier: MIT
// What is resident and held, and what the cache says of itself.
#include <gmock/gmock.h>

#include <random>

#include "residency_fixture.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

TEST(ResidencyCache, AMissIsReadPublishedAndReadsAsTheFileBeforeWhileAndAfter) {
  Residency weights({{Pool::kExperts, 8, 7, 3}}, {}, kInOrder);
  EXPECT_TRUE(weights.weights().read_as_the_file());
  EXPECT_EQ(weights.weights().anonymous_bytes(weights.extent(ExtentId{2}).pages), 0u);
  ASSERT_TRUE(weights.cache().acquire(ids({2}), false));
  EXPECT_TRUE(weights.cache().is_resident(ExtentId{2}));
  EXPECT_EQ(weights.weights().anonymous_bytes(weights.extent(ExtentId{2}).pages), 7 * kPageBytes);
  EXPECT_TRUE(weights.weights().read_as_the_file());
  weights.cache().release(ids({2}));
  EXPECT_TRUE(weights.weights().read_as_the_file());
  const CacheStats stats = weights.cache().stats();
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.hits, 0u);
}

TEST(ResidencyCache, AWithdrawnExtentShowsTheFileAgain) {
  Residency weights({{Pool::kExperts, 4, 5, 1}}, {}, kInOrder);
  for (const uint32_t n : {0u, 1u, 2u, 3u, 0u}) {
    ASSERT_TRUE(weights.use(ids({n})));
    EXPECT_THAT(weights.resident(), ElementsAre(ExtentId{n}));
    EXPECT_TRUE(weights.weights().read_as_the_file());
    for (uint32_t other = 0; other < 4; ++other)
      EXPECT_EQ(weights.weights().anonymous_bytes(weights.extent(ExtentId{other}).pages),
                other == n ? 5 * kPageBytes : 0u);
  }
}

TEST(ResidencyCache, PinnedExtentsSurviveAnyPressure) {
  Residency weights({{Pool::kExperts, 40, 3, 5}, {Pool::kRing, 40, 3, 5}}, {}, kInOrder);
  for (const uint32_t first : {0u, 40u}) {
    const Ids pinned = ids_from(first + 4, 4);
    ASSERT_TRUE(weights.cache().acquire(pinned, false));
    weights.cache().request(ids_from(first, 40), Priority::kDemand);
    for (int round = 0; round < 3; ++round)
      for (uint32_t n = first; n < first + 40; ++n) {
        if (n >= first + 4 && n < first + 8) continue;
        ASSERT_TRUE(weights.use(ids({n})));
        ASSERT_TRUE(weights.is_resident(pinned));
      }
    EXPECT_TRUE(weights.reads_as_the_file(pinned));
    weights.cache().release(pinned);
  }
}

TEST(ResidencyCache, AnExtentPinnedTwiceStaysUntilItIsReleasedTwice) {
  Residency weights({{Pool::kExperts, 3, 2, 1}}, {}, kInOrder);
  ASSERT_TRUE(weights.cache().acquire(ids({0}), false));
  ASSERT_TRUE(weights.cache().acquire(ids({0}), false));
  weights.cache().release(ids({0}));
  weights.cache().request(ids({1}), Priority::kDemand);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAre(ExtentId{0}));
  weights.cache().release(ids({0}));
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAre(ExtentId{1}));
}

TEST(ResidencyCache, MoreThanFitsIsOutOfBudgetAndNothingIsHeld) {
  Residency weights({{Pool::kExperts, 10, 4, 3}, {Pool::kRing, 10, 4, 2}}, {}, kInOrder);
  EXPECT_EQ(weights.cache().holdable(ids({0, 1, 2, 3, 4})), 3u);
  EXPECT_EQ(weights.cache().holdable(ids({0, 10, 1, 11, 12, 2})), 4u);
  const auto acquired = weights.cache().acquire(ids({0, 1, 2, 3}), false);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(acquired.error().message(), HasSubstr("4 extents"));
  ASSERT_TRUE(weights.use(ids({0, 1, 2})));
  ASSERT_TRUE(weights.use(ids({3, 4, 5, 10, 11})));
}

TEST(ResidencyCache, NothingToAcquireIsAcquired) {
  Residency weights({{Pool::kExperts, 2, 2, 1}});
  EXPECT_TRUE(weights.use({}));
}

TEST(ResidencyCache, SlotsThatDoNotFitTheExtentsAreRefused) {
  SimDisk disk;
  SimWeights weights(disk, 16 * kPageBytes);
  WeightSpace space = WeightSpace::open({weights.mapped()}).value();
  const std::vector<Extent> extents{{.file = 0, .pages = {0, 4 * kPageBytes}}};
  for (const std::vector<uint32_t>& n_slots : {std::vector<uint32_t>{}, {0}, {1, 1}}) {
    const auto cache = ResidencyCache::open(space, extents, disk.open_ring(1), {.n_slots = n_slots});
    ASSERT_FALSE(cache);
    EXPECT_EQ(cache.error().code(), Code::kInvalidArgument);
  }
  EXPECT_FALSE(ResidencyCache::open(space, extents, disk.open_ring(1), {.n_slots = {1}, .expert_policy = "fifo"}));
}

TEST(ResidencyCache, WhileEvictionIsForbiddenAnybodyMayReadAnything) {
  TRACE_SEED();
  Residency weights({{Pool::kExperts, 60, 5, 30}, {Pool::kRing, 20, 3, 10}}, {}, {.seed = test_seed()});
  for (uint32_t round = 0; round < 20; ++round) {
    weights.cache().drop_interest();
    ASSERT_TRUE(weights.use(ids_from(round, 15)));
    weights.cache().request(ids_from(0, 80), Priority::kDemand);
    weights.cache().forbid_eviction();
    const uint64_t resident_bytes = weights.cache().stats().resident_bytes;
    {
      Witness witness(weights.weights(), Witness::Eviction::kForbidden, test_seed() + round);
      for (uint32_t i = 0; i < 4; ++i) {
        weights.cache().request(ids_from(20 * i, 20), Priority::kDemand);
        ASSERT_TRUE(weights.weights().read_as_the_file()) << round;
      }
      while (witness.pages_seen() + witness.pages_wrong() == 0) std::this_thread::yield();
      witness.stop();
      EXPECT_EQ(witness.pages_wrong(), 0u);
    }
    EXPECT_GE(weights.cache().stats().resident_bytes, resident_bytes);
    weights.cache().allow_eviction();
  }
}

TEST(ResidencyCache, ForbiddingEvictionWaitsForTheOneUnderWay) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  Residency weights({{Pool::kExperts, 64, 3, 32}}, {}, {.seed = test_seed()});
  for (uint32_t round = 0; round < 1000; ++round) {
    weights.cache().request(ids_from(round % 2 * 32, 32), Priority::kDemand);
    for (uint64_t pause = random() % 200; pause > 0; --pause) (void)weights.cache().is_resident(ExtentId{0});
    weights.cache().forbid_eviction();
    ASSERT_TRUE(weights.weights().read_as_the_file()) << round;
    weights.cache().allow_eviction();
    weights.cache().drop_interest();
  }
}

TEST(ResidencyCache, WhatWaitedForAnEvictionIsReadOnceItIsAllowedAgain) {
  Residency weights({{Pool::kExperts, 8, 2, 2}}, {}, kInOrder);
  ASSERT_TRUE(weights.use(ids({0, 1})));
  weights.cache().forbid_eviction();
  weights.cache().request(ids({2, 3}), Priority::kDemand);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1})));
  weights.cache().allow_eviction();
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({2, 3})));
}

TEST(ResidencyCache, LengthsThatShareSlotsReadAsTheFile) {
  SimDisk disk{{.seed = 3}};
  SimWeights weights(disk, 200 * kPageBytes);
  WeightSpace space = WeightSpace::open({weights.mapped()}).value();
  std::vector<Extent> extents;
  for (uint64_t i = 0; i < 8; ++i)
    extents.push_back({.file = 0, .pages = {i * 24 * kPageBytes, (20 - i % 3) * kPageBytes}, .pool = Pool::kExperts});
  const auto cache = ResidencyCache::open(space, extents, disk.open_ring(3), {.n_slots = {2}}).value();
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 200; ++i) {
    const Ids pair = ids({static_cast<uint32_t>(random() % 8)});
    ASSERT_TRUE(cache->acquire(pair, false));
    ASSERT_TRUE(weights.read_as_the_file(extents[index_of(pair[0])].pages));
    cache->release(pair);
  }
  EXPECT_TRUE(weights.read_as_the_file());
  EXPECT_LE(weights.anonymous_bytes({0, 200 * kPageBytes}), 2 * 20 * kPageBytes);
}

TEST(ResidencyCache, TheCorruptionSwitchFlipsOneBitOfThatExtentAndNoOther) {
  Residency weights({{Pool::kExperts, 6, 4, 3}}, {.corrupt_extent = 2}, kInOrder);
  for (uint32_t n = 0; n < 6; ++n) {
    ASSERT_TRUE(weights.cache().acquire(ids({n}), false));
    EXPECT_EQ(weights.weights().bits_wrong(weights.extent(ExtentId{n}).pages), n == 2 ? 1u : 0u) << n;
    weights.cache().release(ids({n}));
  }
}

TEST(ResidencyCache, ClosingWithReadsInFlightLeavesTheFilesBytes) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Residency weights({{Pool::kExperts, 40, 9, 20}, {Pool::kRing, 40, 5, 6}}, {}, {.seed = seed}, 3);
    weights.cache().request(ids_from(0, 80), Priority::kDemand);
    if (seed % 2 == 0) {
      ASSERT_TRUE(weights.use(ids({static_cast<uint32_t>(seed)})));
    }
    weights.close();
    ASSERT_TRUE(weights.weights().read_as_the_file()) << seed;
  }
}

TEST(ResidencyCache, ClosingWaitsForTheDisk) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 40, 9, 20}}, {}, held.options());
  weights.cache().request(ids_from(0, 40), Priority::kDemand);
  held.wait_until_held();
  std::thread closer([&] { weights.close(); });
  held.go_on();
  closer.join();
  EXPECT_TRUE(weights.weights().read_as_the_file());
}

TEST(ResidencyCache, StatisticsAddUp) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  Residency weights({{Pool::kExperts, 30, 3, 8}, {Pool::kRing, 20, 7, 4}}, {}, kInOrder);
  uint64_t acquired = 0, acquired_bytes = 0;
  for (int i = 0; i < 300; ++i) {
    const Ids wanted = ids({static_cast<uint32_t>(random() % 30), 30 + static_cast<uint32_t>(random() % 20)});
    ASSERT_TRUE(weights.use(wanted));
    acquired += 2;
    acquired_bytes += (3 + 7) * kPageBytes;
  }
  weights.cache().drop_interest();
  weights.settle();
  const CacheStats stats = weights.cache().stats();
  EXPECT_EQ(stats.hits + stats.misses, acquired);
  EXPECT_EQ(stats.expert_hits + stats.expert_misses, acquired / 2);
  EXPECT_EQ(stats.bytes_hit + stats.bytes_missed, acquired_bytes);
  EXPECT_EQ(stats.bytes_read, weights.disk().bytes_read());
  EXPECT_GE(stats.reads, stats.misses);
  uint64_t resident_bytes = kPageBytes;  // the fence
  for (const ExtentId id : weights.resident()) resident_bytes += weights.extent(id).pages.bytes;
  EXPECT_EQ(stats.resident_bytes, resident_bytes);
  EXPECT_GT(stats.wait_s, 0);
  EXPECT_GT(stats.reader_busy_s, 0);
  EXPECT_GE(stats.reader_cpu_s, 0);
  weights.cache().reset_stats();
  const CacheStats none = weights.cache().stats();
  EXPECT_EQ(none.hits + none.misses + none.reads + none.bytes_read, 0u);
  EXPECT_EQ(none.resident_bytes, resident_bytes);
}

TEST(ResidencyCache, HeatIsKeptAndGivenBack) {
  Residency weights({{Pool::kExperts, 4, 2, 2}}, {}, kInOrder);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(weights.use(ids({1})));
  ASSERT_TRUE(weights.use(ids({2})));
  std::vector<double> heat = weights.cache().heat();
  EXPECT_GT(heat[1], heat[2]);
  EXPECT_GT(heat[2], heat[3]);
  EXPECT_EQ(heat[3], 0);
  heat[3] = 9;
  weights.cache().set_heat(heat);
  EXPECT_EQ(weights.cache().heat(), heat);
}

TEST(ResidencyCache, TwoCallersShareIt) {
  TRACE_SEED();
  Residency weights({{Pool::kExperts, 30, 4, 6}}, {}, {.seed = test_seed(), .fault_every_nth = 50});
  const auto call = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 1000; ++i) {
      const Ids wanted = ids_from(static_cast<uint32_t>(random() % 27), 3);  // both fit at once
      if (random() % 4 == 0) weights.cache().request(wanted, static_cast<Priority>(random() % kPriorities));
      if (!weights.cache().acquire(wanted, false)) continue;
      EXPECT_TRUE(weights.reads_as_the_file(wanted));
      weights.cache().release(wanted);
    }
  };
  std::thread other(call, test_seed() + 1);
  call(test_seed());
  other.join();
}

TEST(ResidencyCacheDeathTest, ReleasingWhatIsNotHeldIsABug) {
  Residency weights({{Pool::kExperts, 3, 2, 2}});
  EXPECT_DEATH(weights.cache().release(ids({1})), "pins > 0");
}

}  // namespace
}  // namespace spillway
