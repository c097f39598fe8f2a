// SPDX-License-Identifier: MIT
// The number of slots changes while the cache is in use.
#include <gmock/gmock.h>

#include <atomic>
#include <random>

#include "os/machine.h"
#include "residency_fixture.h"

namespace spillway {
namespace {

TEST(ResidencyResize, WhatIsUsedMostStaysAndTheRestOfTheMemoryGoesBackToTheSystem) {
  constexpr uint64_t kPages = 4 * MiB / kPageBytes;
  Residency weights({{Pool::kExperts, 24, kPages, 20}}, {.read_bytes = 1 * MiB}, kInOrder);
  ASSERT_TRUE(weights.use(ids_from(0, 20)));
  ASSERT_TRUE(weights.use(ids({3, 11, 17})));
  const uint64_t rss_before = process_usage().rss_anon_bytes;
  const ByteRange all{0, weights.weights().mapped_bytes()};
  EXPECT_EQ(weights.weights().anonymous_bytes(all), 20 * 4 * MiB);
  weights.resize({3});
  ASSERT_TRUE(weights.cache().wait_until_shrunk(kSoon));
  EXPECT_EQ(weights.resident(), ids({3, 11, 17}));
  EXPECT_EQ(weights.slot_bytes(), 3 * 4 * MiB);
  EXPECT_EQ(weights.weights().anonymous_bytes(all), 3 * 4 * MiB);
  EXPECT_LT(process_usage().rss_anon_bytes + 16 * 4 * MiB, rss_before) << "not kept elsewhere either";
  EXPECT_TRUE(weights.weights().read_as_the_file());
}

TEST(ResidencyResize, ItGrowsAsFarAsThereAreExtents) {
  Residency weights({{Pool::kExperts, 10, 2, 3}}, {}, kInOrder);
  weights.resize({2});
  EXPECT_EQ(weights.cache().holdable(ids_from(0, 5)), 2u);
  weights.resize({100});
  EXPECT_EQ(weights.n_slots(0), 10u);
  EXPECT_EQ(weights.cache().holdable(ids_from(0, 10)), 10u);
  ASSERT_TRUE(weights.use(ids_from(0, 10)));
  EXPECT_EQ(weights.resident(), ids_from(0, 10));
  EXPECT_EQ(weights.slot_bytes(), 10 * 2 * kPageBytes);
  EXPECT_TRUE(weights.cache().wait_until_shrunk(kNow));
}

TEST(ResidencyResize, PinnedExtentsOutlastAShrinkAndFollowWhenTheyAreReleased) {
  Residency weights({{Pool::kExperts, 10, 2, 6}}, {}, kInOrder);
  const Ids held = ids({1, 2, 3, 4});
  ASSERT_TRUE(weights.cache().acquire(held, false));
  ASSERT_TRUE(weights.use(ids({5, 6})));
  weights.resize({2});
  while (weights.slot_bytes() > 4 * 2 * kPageBytes) std::this_thread::yield();  // all that is not held goes at once
  EXPECT_FALSE(weights.cache().wait_until_shrunk(kNow));
  EXPECT_EQ(weights.resident(), held);
  EXPECT_TRUE(weights.reads_as_the_file(held));
  weights.cache().release(ids({1, 2}));
  ASSERT_TRUE(weights.cache().wait_until_shrunk(kSoon));
  EXPECT_EQ(weights.resident(), ids({3, 4}));
  weights.cache().release(ids({3, 4}));
  EXPECT_EQ(weights.slot_bytes(), 2 * 2 * kPageBytes);
}

TEST(ResidencyResize, WhoWaitsForMoreThanIsLeftGetsItAll) {
  HeldDisk disk;
  Residency weights({{Pool::kExperts, 10, 2, 6}}, {}, disk.options());
  std::thread caller([&] {
    EXPECT_TRUE(weights.cache().acquire(ids_from(0, 6), false));
    EXPECT_TRUE(weights.reads_as_the_file(ids_from(0, 6)));
    weights.cache().release(ids_from(0, 6));
  });
  disk.wait_until_held();
  weights.resize({1});
  EXPECT_EQ(weights.cache().holdable(ids_from(0, 6)), 1u);
  disk.go_on();
  caller.join();
  ASSERT_TRUE(weights.cache().wait_until_shrunk(kSoon));
  EXPECT_EQ(weights.slot_bytes(), 2 * kPageBytes);
  EXPECT_EQ(weights.resident().size(), 1u);
}

TEST(ResidencyResize, WhatIsBeingReadAndNobodyWaitsForLeavesOnceItIsThere) {
  HeldDisk disk;
  Residency weights({{Pool::kExperts, 10, 2, 6}}, {}, disk.options());
  weights.cache().request(ids_from(0, 6), Priority::kDemand);
  disk.wait_until_held();
  weights.resize({2});
  EXPECT_FALSE(weights.cache().wait_until_shrunk(kNow));
  disk.go_on();
  ASSERT_TRUE(weights.cache().wait_until_shrunk(kSoon));
  EXPECT_LE(weights.resident().size(), 2u);
  ASSERT_TRUE(weights.use(ids({0, 5})));
}

TEST(ResidencyResize, WhileEvictionIsForbiddenNothingLeaves) {
  Residency weights({{Pool::kExperts, 6, 2, 6}}, {}, kInOrder);
  ASSERT_TRUE(weights.use(ids_from(0, 6)));
  weights.cache().forbid_eviction();
  weights.resize({1});
  EXPECT_FALSE(weights.cache().wait_until_shrunk(std::chrono::milliseconds(20)));
  EXPECT_EQ(weights.resident(), ids_from(0, 6));
  weights.cache().allow_eviction();
  EXPECT_TRUE(weights.cache().wait_until_shrunk(kSoon));
  EXPECT_EQ(weights.resident().size(), 1u);
}

TEST(ResidencyResize, ACycleGoesOnWithFewerSlotsAndWithMore) {
  Residency weights({{Pool::kRing, 12, 3, 6}}, {}, kInOrder);
  for (const uint32_t slots : {6u, 2u, 1u, 5u, 12u, 3u}) {
    weights.resize({slots});
    for (int pass = 0; pass < 3; ++pass)
      for (uint32_t n = 0; n < 12; ++n) {
        const Ids one = ids({n});
        ASSERT_TRUE(weights.cache().acquire(one, false));
        ASSERT_TRUE(weights.reads_as_the_file(one));
        weights.cache().release(one);
      }
    ASSERT_TRUE(weights.cache().wait_until_shrunk(kSoon));
    EXPECT_LE(weights.slot_bytes(), slots * 3 * kPageBytes);
  }
}

TEST(ResidencyResize, NumbersThatDoNotFitTheClassesAreRefusedAndChangeNothing) {
  Residency weights({{Pool::kExperts, 6, 2, 4}}, {}, kInOrder);
  for (const std::vector<uint32_t>& wrong : {std::vector<uint32_t>{}, {2}, {1, 0}, {1, 1, 1}}) {
    const auto refused = weights.cache().set_n_slots(wrong);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  }
  EXPECT_EQ(weights.n_slots(0), 4u);
}

TEST(ResidencyResize, AnotherThreadResizesWhileTwoUseIt) {
  TRACE_SEED();
  Residency weights({{Pool::kExperts, 30, 4, 8}}, {}, {.seed = test_seed(), .fault_every_nth = 50});
  std::atomic<bool> stopping{false};
  std::thread resizer([&] {
    std::mt19937_64 random(test_seed() + 2);
    for (uint32_t n = 0; !stopping; ++n) {
      weights.resize({6 + static_cast<uint32_t>(random() % 20)});  // both callers fit at any time
      weights.cache().wait_until_shrunk(std::chrono::milliseconds(random() % 3));
    }
  });
  const auto call = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 1000; ++i) {
      const Ids wanted = ids_from(static_cast<uint32_t>(random() % 27), 3);
      if (random() % 4 == 0) weights.cache().request(wanted, static_cast<Priority>(random() % kPriorities));
      if (!weights.cache().acquire(wanted, false)) continue;
      EXPECT_TRUE(weights.reads_as_the_file(wanted));
      weights.cache().release(wanted);
    }
  };
  std::thread other(call, test_seed() + 1);
  call(test_seed());
  other.join();
  stopping = true;
  resizer.join();
  weights.resize({1});
  EXPECT_TRUE(weights.cache().wait_until_shrunk(kSoon));
  EXPECT_EQ(weights.slot_bytes(), 4 * kPageBytes);
  EXPECT_TRUE(weights.weights().read_as_the_file());
}

}  // namespace
}  // namespace spillway
