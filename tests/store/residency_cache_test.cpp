// SPDX-License-Identifier: MIT
#include "store/residency_cache.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <set>

#include "base/bytes.h"
#include "os/machine.h"
#include "sim_weights.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::Each;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::Ge;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Le;
using testing::Pair;
using testing::SizeIs;
using testing::UnorderedElementsAre;

using Ids = std::vector<ExtentId>;

Ids ids(std::initializer_list<uint32_t> numbers) {
  Ids all;
  for (const uint32_t n : numbers) all.push_back(ExtentId{n});
  return all;
}
Ids ids_from(uint32_t first, uint32_t count) {
  Ids all;
  for (uint32_t n = first; n < first + count; ++n) all.push_back(ExtentId{n});
  return all;
}
Ids reversed(Ids all) {
  std::reverse(all.begin(), all.end());
  return all;
}

// `n` extents of `pages` pages each, with memory for `slots` of them.
struct Group {
  Pool pool;
  uint32_t n;
  uint64_t pages;
  uint32_t slots;
};

// A disk, weights on it in groups of extents with an unowned page between any two, and a cache over them. Extents are
// numbered through the groups in order.
class Residency {
 public:
  explicit Residency(std::vector<Group> groups, CacheOptions cache = {}, SimDiskOptions disk = {}, unsigned depth = 4)
      : groups_(std::move(groups)), disk_(disk) {
    // The fences are a length of their own: see settle().
    first_fence_ = 0;
    for (const Group& group : groups_) first_fence_ += group.n;
    groups_.push_back({Pool::kExperts, kFences, 1, kFences});
    uint64_t page = 1;
    for (uint32_t g = 0; g < groups_.size(); ++g)
      for (uint32_t i = 0; i < groups_[g].n; ++i) {
        const ByteRange pages{page * kPageBytes, groups_[g].pages * kPageBytes};
        extents_.push_back({.file = 0, .pages = pages, .pool = groups_[g].pool, .group = g});
        at_offset_[pages.offset] = ExtentId{static_cast<uint32_t>(extents_.size() - 1)};
        page += groups_[g].pages + 1;
      }
    weights_ = std::make_unique<SimWeights>(disk_, page * kPageBytes + 10);
    space_ = std::make_unique<WeightSpace>(WeightSpace::open({weights_->mapped()}).value());
    const SlotClasses classes = choose_slot_classes(extents_);
    CHECK(classes.slot_bytes.size() == groups_.size());
    class_of_group_.resize(groups_.size());
    for (size_t e = 0; e < extents_.size(); ++e) class_of_group_[extents_[e].group] = classes.class_of[e];
    cache.n_slots = by_class();
    if (cache.read_bytes == 0) cache.read_bytes = 2 * kPageBytes;
    cache_ = ResidencyCache::open(*space_, extents_, disk_.open_ring(depth), cache).value();
  }

  ResidencyCache& cache() { return *cache_; }
  SimDisk& disk() { return disk_; }
  SimWeights& weights() { return *weights_; }
  const Extent& extent(ExtentId id) const { return extents_[index_of(id)]; }
  uint32_t n_extents() const { return first_fence_; }
  uint64_t slot_bytes_max() const {
    uint64_t sum = 0;
    for (const Group& group : groups_) sum += group.slots * group.pages * kPageBytes;
    return sum;
  }

  // Memory for `slots[g]` of each group's extents from now on.
  void resize(const std::vector<uint32_t>& slots) {
    for (size_t g = 0; g < slots.size(); ++g) groups_[g].slots = slots[g];
    CHECK(cache_->set_n_slots(by_class()));
  }
  uint32_t n_slots(size_t group) const { return cache_->n_slots(class_of_group_[group]); }
  // Memory that the cache has taken, the fences' apart.
  uint64_t slot_bytes() const { return cache_->stats().slot_bytes - fences_used_ * kPageBytes; }
  void close() { cache_.reset(); }

  // Acquires and releases: one use.
  Result<void> use(const Ids& wanted, bool scan = false) {
    auto acquired = cache_->acquire(wanted, scan);
    if (acquired) cache_->release(wanted);
    return acquired;
  }

  // Returns when the reader has read all that it has room for and waits. Speculative reads begin only when nothing else
  // can, and the disk of this fixture completes reads in order unless told otherwise: so once an extent that was asked
  // for last and least, and has a slot of its own, is there, so is everything else.
  void settle() {
    CHECK(fences_used_ < kFences && disk_.options().reorder_window == 1);
    const ExtentId fence{first_fence_ + fences_used_++};
    cache_->request({&fence, 1}, Priority::kSpeculative);
    while (!cache_->is_resident(fence)) std::this_thread::yield();
  }

  Ids resident() const {
    Ids found;
    const std::vector<bool> now = cache_->resident();
    for (uint32_t n = 0; n < first_fence_; ++n)
      if (now[n]) found.push_back(ExtentId{n});
    return found;
  }
  bool is_resident(const Ids& wanted) const {
    return std::all_of(wanted.begin(), wanted.end(), [this](ExtentId id) { return cache_->is_resident(id); });
  }
  bool reads_as_the_file(const Ids& held) const {
    return std::all_of(held.begin(), held.end(),
                       [this](ExtentId id) { return weights_->read_as_the_file(extent(id).pages); });
  }

  std::optional<ExtentId> extent_read_by(const ReadRequest& request) const {
    const auto at = at_offset_.find(request.offset);
    if (at == at_offset_.end() || index_of(at->second) >= first_fence_) return std::nullopt;
    return at->second;
  }

 private:
  static constexpr uint32_t kFences = 600;

  std::vector<uint32_t> by_class() const {
    std::vector<uint32_t> n_slots(groups_.size());
    for (size_t g = 0; g < groups_.size(); ++g) n_slots[class_of_group_[g]] = groups_[g].slots;
    return n_slots;
  }

  std::vector<Group> groups_;
  SimDisk disk_;
  std::vector<Extent> extents_;
  std::map<uint64_t, ExtentId> at_offset_;
  std::unique_ptr<SimWeights> weights_;
  std::unique_ptr<WeightSpace> space_;
  std::unique_ptr<ResidencyCache> cache_;
  std::vector<uint32_t> class_of_group_;
  uint32_t first_fence_ = 0, fences_used_ = 0;
};

// Holds the disk's first read until told to go on, and lists the extents in the order in which reads of them began.
class HeldDisk {
 public:
  SimDiskOptions options() {
    return {.reorder_window = 1, .before_read = [this](const ReadRequest& request) { on_read(request); }};
  }
  void wait_until_held() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return holding_; });
  }
  void go_on() {
    const std::lock_guard lock(mu_);
    released_ = true;
    changed_.notify_all();
  }
  Ids order(const Residency& weights) {
    const std::lock_guard lock(mu_);
    Ids order;
    for (const ReadRequest& request : reads_)
      if (const auto id = weights.extent_read_by(request)) order.push_back(*id);
    return order;
  }

 private:
  void on_read(const ReadRequest& request) {
    std::unique_lock lock(mu_);
    reads_.push_back(request);
    holding_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return released_; });
  }

  std::mutex mu_;
  std::condition_variable changed_;
  bool holding_ = false, released_ = false;
  std::vector<ReadRequest> reads_;
};

const SimDiskOptions kInOrder{.reorder_window = 1};

// --- what is resident
// --------------------------------------------------------------------------------------------------

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

// --- what is read, and when
// --------------------------------------------------------------------------------------------

TEST(ResidencyCache, DemandIsReadBeforeCertainBeforeSpeculative) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3}), Priority::kSpeculative);
  weights.cache().request(ids({6, 5, 4}), Priority::kCertain);
  weights.cache().request(ids({9, 7, 8}), Priority::kDemand);
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 9, 7, 8, 6, 5, 4, 1, 2, 3})));
}

TEST(ResidencyCache, LikelyIsReadAfterCertainAndBeforeSpeculative) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1}), Priority::kSpeculative);
  weights.cache().request(ids({2, 3}), Priority::kLikely);
  weights.cache().request(ids({4}), Priority::kCertain);
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 4, 2, 3, 1})));
}

TEST(ResidencyCache, ACancelledGuessGivesItsMemoryToTheNext) {
  Residency weights({{Pool::kExperts, 10, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kLikely);
  weights.settle();
  weights.cache().request(ids({4}), Priority::kLikely);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3}))) << "guesses stay until judged";
  weights.cache().cancel(ids({2}));
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 3, 4})));
  EXPECT_EQ(weights.cache().stats().bytes_wasted, 2 * kPageBytes);
}

TEST(ResidencyCache, ACancelledGuessThatWasQueuedIsNotRead) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3}), Priority::kLikely);
  weights.cache().request(ids({2}), Priority::kDemand);
  weights.cache().cancel(ids({1, 2}));
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 2, 3}))) << "what was asked for since is read all the same";
}

TEST(ResidencyCache, AskingMoreUrgentlyMovesAnExtentForwardAndItIsReadOnce) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3}), Priority::kSpeculative);
  weights.cache().request(ids({4, 3}), Priority::kCertain);
  weights.cache().request(ids({5, 3}), Priority::kDemand);
  weights.cache().request(ids({3, 4, 5}), Priority::kSpeculative);
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 5, 3, 4, 1, 2})));
}

TEST(ResidencyCache, WhatACallerWaitsForIsReadBeforeWhatWasOnlyAskedFor) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 20, 2, 20}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kCertain);
  held.wait_until_held();
  weights.cache().request(ids({1, 2, 3, 4, 5}), Priority::kDemand);
  std::thread caller([&] { EXPECT_TRUE(weights.use(ids({9, 4}))); });
  while (weights.cache().stats().misses < 5 + 1) std::this_thread::yield();  // a use is counted when it is asked for
  held.go_on();
  caller.join();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAreArray(ids({0, 9, 4, 1, 2, 3, 5})));
}

TEST(ResidencyCache, ALengthWithoutASlotDoesNotHoldUpOthers) {
  Residency weights({{Pool::kExperts, 300, 2, 1}, {Pool::kExperts, 4, 5, 4}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 300), Priority::kDemand);
  weights.cache().request(ids_from(300, 4), Priority::kDemand);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 300, 301, 302, 303})));
}

TEST(ResidencyCache, ReadAheadStaysUntilItIsUsed) {
  Residency weights({{Pool::kExperts, 10, 2, 4}}, {}, kInOrder);
  for (const Priority priority : {Priority::kDemand, Priority::kCertain, Priority::kLikely}) {
    weights.cache().drop_interest();
    weights.cache().request(ids({0, 1, 2, 3}), priority);
    weights.settle();
    weights.cache().request(ids({4, 5}), Priority::kDemand);
    weights.cache().request(ids({6}), Priority::kCertain);
    weights.cache().request(ids({7}), Priority::kSpeculative);
    weights.settle();
    EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3})));
  }
}

TEST(ResidencyCache, WhatWasReadAheadGoesOnlyWhenACallerWouldWaitForEver) {
  Residency weights({{Pool::kExperts, 10, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kDemand);
  weights.settle();
  ASSERT_TRUE(weights.cache().acquire(ids({4}), false));
  EXPECT_TRUE(weights.cache().is_resident(ExtentId{4}));
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 4})));  // the one asked for last
  weights.cache().release(ids({4}));
  ASSERT_TRUE(weights.cache().acquire(ids({5}), false));
  EXPECT_FALSE(weights.cache().is_resident(ExtentId{4}));  // and none where another could go
  weights.cache().release(ids({5}));
}

TEST(ResidencyCache, MoreMayBeAskedForThanFitsAndTakenInAnotherOrder) {
  Residency weights({{Pool::kExperts, 300, 2, 4}, {Pool::kRing, 300, 2, 4}}, {}, {.seed = 9});
  for (const Priority priority : {Priority::kDemand, Priority::kCertain, Priority::kSpeculative}) {
    weights.cache().request(ids_from(0, 600), priority);
    for (uint32_t n = 600; n >= 2; n -= 2) ASSERT_TRUE(weights.use(reversed(ids_from(n - 2, 2))));
    weights.cache().request(ids_from(0, 600), priority);
    TRACE_SEED();
    std::mt19937_64 random(test_seed());
    for (int i = 0; i < 200; ++i)
      ASSERT_TRUE(weights.use(ids_from(static_cast<uint32_t>(random() % 2 * 300 + random() % 297), 4)));
    weights.cache().drop_interest();
  }
}

TEST(ResidencyCache, ACycleIsReadAheadOfItsUse) {
  Residency weights({{Pool::kRing, 20, 3, 6}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 20), Priority::kCertain);
  for (int pass = 0; pass < 4; ++pass)
    for (uint32_t n = 0; n < 20; ++n) {
      weights.settle();
      ASSERT_TRUE(weights.use(ids({n})));
    }
  EXPECT_EQ(weights.cache().stats().misses, 0u);
  EXPECT_EQ(weights.cache().stats().hits, 80u);
}

TEST(ResidencyCache, TheOrderOfACycleIsLearnedFromItsFirstPass) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 5; ++round) {
    Residency weights({{Pool::kRing, 20, 3, 6}}, {}, kInOrder);
    weights.cache().request(ids_from(0, 20), Priority::kCertain);
    std::vector<uint32_t> order(20);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random);
    for (int pass = 0; pass < 4; ++pass) {
      weights.cache().reset_stats();
      for (const uint32_t n : order) {
        weights.settle();
        ASSERT_TRUE(weights.use(ids({n})));
      }
      if (pass >= 2) {
        EXPECT_EQ(weights.cache().stats().misses, 0u) << "pass " << pass;
      }
    }
  }
}

TEST(ResidencyCache, ACycleGoesOnOverTheEndOfAPass) {
  Residency weights({{Pool::kRing, 12, 3, 4}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 12), Priority::kCertain);
  for (uint32_t n = 0; n < 12; ++n) {
    weights.settle();
    ASSERT_TRUE(weights.use(ids({n})));
  }
  weights.cache().drop_interest();
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3})));
}

TEST(ResidencyCache, OfACycleTheLastUsedGoesFirst) {
  Residency weights({{Pool::kRing, 8, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 5), Priority::kCertain);
  weights.settle();
  weights.cache().forbid_eviction();
  ASSERT_TRUE(weights.use(ids({0, 1, 2})));
  weights.cache().allow_eviction();
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 3, 4})));
  EXPECT_EQ(weights.cache().stats().reads, 5u + 2u);  // each once, and two fences: 0 and 1 were kept, not read again
}

TEST(ResidencyCache, ACycleThatFitsIsReadOnce) {
  Residency weights({{Pool::kRing, 6, 3, 6}}, {}, kInOrder);
  weights.cache().request(ids_from(0, 6), Priority::kCertain);
  for (int pass = 0; pass < 3; ++pass)
    for (uint32_t n = 0; n < 6; ++n) ASSERT_TRUE(weights.use(ids({n})));
  EXPECT_EQ(weights.cache().stats().reads, 6u);
}

TEST(ResidencyCache, AGuessFillsFreeMemoryAndNoMore) {
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, kInOrder);
  ASSERT_TRUE(weights.use(ids({0, 1})));
  weights.cache().request(ids({4, 5, 6}), Priority::kSpeculative);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 4, 5})));
  std::vector<double> heat(weights.cache().heat());
  heat[7] = 50;
  weights.cache().set_heat(heat);
  weights.cache().request(ids({7}), Priority::kSpeculative);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 4, 5})));
}

TEST(ResidencyCache, AGuessThatNobodyUsedGoesFirst) {
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, kInOrder);
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kSpeculative);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 2, 3})));
  ASSERT_TRUE(weights.use(ids({0, 1})));
  ASSERT_TRUE(weights.use(ids({8, 9})));
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 1, 8, 9})));
}

TEST(ResidencyCache, WhatEarlierRunsUsedMostIsKeptLongest) {
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, kInOrder);
  weights.cache().set_heat(std::vector<double>{5, 1, 4, 3});
  weights.cache().request(ids({0, 1, 2, 3}), Priority::kSpeculative);
  weights.settle();
  ASSERT_TRUE(weights.use(ids({8})));
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({0, 2, 3, 8})));
}

TEST(ResidencyCache, DroppedInterestIsNeitherReadNorKept) {
  HeldDisk held;
  Residency weights({{Pool::kExperts, 12, 2, 4}}, {}, held.options(), 1);
  weights.cache().request(ids({0}), Priority::kDemand);
  held.wait_until_held();
  weights.cache().request(ids({1, 2}), Priority::kDemand);
  weights.cache().request(ids({3}), Priority::kCertain);
  weights.cache().drop_interest();
  held.go_on();
  weights.settle();
  EXPECT_THAT(held.order(weights), ElementsAre(ExtentId{0}));
  weights.cache().request(ids({4, 5, 6, 7}), Priority::kDemand);
  weights.settle();
  EXPECT_THAT(weights.resident(), ElementsAreArray(ids({4, 5, 6, 7})));  // 0 had no protection left
}

TEST(ResidencyCache, AScanLeavesTheHotSet) {
  Residency weights({{Pool::kExperts, 100, 2, 10}}, {.expert_policy = "lfu"}, kInOrder);
  const Ids hot = ids({3, 17, 40, 41, 42, 60, 99});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(weights.use(hot));
  for (int pass = 0; pass < 2; ++pass)
    for (uint32_t n = 0; n < 100; ++n) ASSERT_TRUE(weights.use(ids({n}), true));
  EXPECT_TRUE(weights.is_resident(hot));
  weights.cache().reset_stats();
  ASSERT_TRUE(weights.use(hot));
  EXPECT_EQ(weights.cache().stats().hits, hot.size());
}

TEST(ResidencyCache, LruLosesTheHotSetToAScan) {  // what the test above would see if lfu were lru
  Residency weights({{Pool::kExperts, 100, 2, 10}}, {.expert_policy = "lru"}, kInOrder);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(weights.use(ids({3, 17, 40})));
  for (uint32_t n = 0; n < 100; ++n) ASSERT_TRUE(weights.use(ids({n}), true));
  EXPECT_FALSE(weights.is_resident(ids({3, 17, 40})));
}

// --- faults
// ------------------------------------------------------------------------------------------------------------

class Faults : public testing::Test {
 protected:
  // Extents are read in 4 reads each.
  Residency weights_{{{Pool::kExperts, 30, 7, 4}}, {}, kInOrder};
  SimDiskOptions& disk() { return weights_.disk().options(); }
  // The next read fails, or comes back short; those after it do not.
  uint64_t next_read() { return weights_.disk().reads_done() + 1; }

  void SetUp() override { ASSERT_TRUE(weights_.use(ids({29}))); }
  // Reads end in the order in which they began: when this one has ended, in whatever way, none is in flight.
  void stop_faults() {
    weights_.cache().drop_interest();
    (void)weights_.use(ids({28}));
    disk() = kInOrder;
  }
  void expect_works() {
    for (const uint32_t first : {0u, 4u, 8u}) {
      ASSERT_TRUE(weights_.cache().acquire(ids_from(first, 4), false));  // all slots at once
      EXPECT_TRUE(weights_.reads_as_the_file(ids_from(first, 4)));
      weights_.cache().release(ids_from(first, 4));
    }
    EXPECT_TRUE(weights_.weights().read_as_the_file());
  }
};

TEST_F(Faults, AReadThatFailsOnceIsTriedAgain) {
  disk().fault_every_nth = next_read();
  ASSERT_TRUE(weights_.cache().acquire(ids({0}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({0})));
  EXPECT_EQ(weights_.disk().reads_done(), 4u + 5u);
}

TEST_F(Faults, AShortReadIsTriedAgain) {
  disk().short_every_nth = next_read() + 2;
  ASSERT_TRUE(weights_.cache().acquire(ids({0}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({0})));
  EXPECT_EQ(weights_.disk().reads_done(), 4u + 5u);
}

TEST_F(Faults, AReadThatFailsTwiceFailsTheAcquireAndNamesFileAndOffset) {
  disk().fault_every_nth = 1;
  const auto acquired = weights_.cache().acquire(ids({3}), false);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), Code::kIo);
  EXPECT_THAT(acquired.error().message(),
              AllOf(HasSubstr("sim:/0"), HasSubstr(std::to_string(weights_.extent(ExtentId{3}).pages.offset)),
                    HasSubstr("Input/output error")));
  EXPECT_FALSE(weights_.cache().is_resident(ExtentId{3}));
  EXPECT_TRUE(weights_.weights().read_as_the_file());
  stop_faults();
  ASSERT_TRUE(weights_.cache().acquire(ids({3}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({3})));
}

TEST_F(Faults, AFileThatEndsEarlyFailsTheAcquireAsChanged) {
  const uint64_t end = weights_.extent(ExtentId{3}).pages.offset + 3 * kPageBytes;
  weights_.disk().shrink_files_to(end);
  const auto acquired = weights_.cache().acquire(ids({3}), false);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), Code::kChanged);
  EXPECT_THAT(acquired.error().message(), AllOf(HasSubstr("sim:/0"), HasSubstr("was it changed while in use")));
  EXPECT_TRUE(weights_.use(ids({1})));
}

TEST_F(Faults, AFailedAcquireOfManyHoldsNone) {
  ASSERT_TRUE(weights_.use(ids({0, 1})));
  disk().fault_every_nth = 1;
  ASSERT_FALSE(weights_.cache().acquire(ids({0, 1, 2, 3}), false));
  stop_faults();
  expect_works();
}

TEST_F(Faults, AReadAheadThatFailsIsMadeUpForWhenItIsNeeded) {
  disk().fault_every_nth = 1;
  weights_.cache().request(ids({0, 1, 2, 3}), Priority::kDemand);
  while (weights_.disk().reads_done() < 4u + 4 * 2) std::this_thread::yield();
  stop_faults();
  ASSERT_TRUE(weights_.cache().acquire(ids({0, 1, 2, 3}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({0, 1, 2, 3})));
}

TEST_F(Faults, AThousandFailuresLoseNoSlot) {
  disk().fault_every_nth = 1;
  for (uint32_t i = 0; i < 1000; ++i) {
    ASSERT_FALSE(weights_.cache().acquire(ids({i % 29}), false));
    weights_.cache().drop_interest();
  }
  stop_faults();
  expect_works();
}

TEST_F(Faults, FailuresAmongSuccessesLoseNoSlot) {
  disk().fault_every_nth = 4;
  disk().short_every_nth = 7;
  int failed = 0, worked = 0;
  for (uint32_t i = 0; i < 600; ++i) {
    const Ids wanted = ids_from(i % 25, 3);
    if (!weights_.cache().acquire(wanted, false)) {
      ++failed;
    } else {
      ++worked;
      ASSERT_TRUE(weights_.reads_as_the_file(wanted));
      weights_.cache().release(wanted);
    }
    weights_.cache().drop_interest();
  }
  EXPECT_GT(failed, 0);
  EXPECT_GT(worked, 0);
  stop_faults();
  expect_works();
}

TEST(ResidencyCache, TheCorruptionSwitchFlipsOneBitOfThatExtentAndNoOther) {
  Residency weights({{Pool::kExperts, 6, 4, 3}}, {.corrupt_extent = 2}, kInOrder);
  for (uint32_t n = 0; n < 6; ++n) {
    ASSERT_TRUE(weights.cache().acquire(ids({n}), false));
    EXPECT_EQ(weights.weights().bits_wrong(weights.extent(ExtentId{n}).pages), n == 2 ? 1u : 0u) << n;
    weights.cache().release(ids({n}));
  }
}

// --- ends and numbers
// --------------------------------------------------------------------------------------------------

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

// --- another size while in use
// ------------------------------------------------------------------------------------------

constexpr std::chrono::seconds kSoon{20};  // only a failure takes that long
constexpr std::chrono::milliseconds kNow{0};

TEST(Resize, WhatIsUsedMostStaysAndTheRestOfTheMemoryGoesBackToTheSystem) {
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

TEST(Resize, ItGrowsAsFarAsThereAreExtents) {
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

TEST(Resize, PinnedExtentsOutlastAShrinkAndFollowWhenTheyAreReleased) {
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

TEST(Resize, WhoWaitsForMoreThanIsLeftGetsItAll) {
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

TEST(Resize, WhatIsBeingReadAndNobodyWaitsForLeavesOnceItIsThere) {
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

TEST(Resize, WhileEvictionIsForbiddenNothingLeaves) {
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

TEST(Resize, ACycleGoesOnWithFewerSlotsAndWithMore) {
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

TEST(Resize, NumbersThatDoNotFitTheClassesAreRefusedAndChangeNothing) {
  Residency weights({{Pool::kExperts, 6, 2, 4}}, {}, kInOrder);
  for (const std::vector<uint32_t>& wrong : {std::vector<uint32_t>{}, {2}, {1, 0}, {1, 1, 1}}) {
    const auto refused = weights.cache().set_n_slots(wrong);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  }
  EXPECT_EQ(weights.n_slots(0), 4u);
}

TEST(Resize, AnotherThreadResizesWhileTwoUseIt) {
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

// --- random operations
// -------------------------------------------------------------------------------------------------

struct Chaos {
  const char* name;
  SimDiskOptions disk;
  const char* policy;
  int failures_min = 0;
};

class RandomOperations : public testing::TestWithParam<Chaos> {
 protected:
  void operate(bool resize);
};

// The plain model: what is held, and how much of each group. Everything else is checked against the file.
TEST_P(RandomOperations, KeepEveryByteEveryHoldAndTheBudget) { operate(false); }

// The budget changes in between, below what is held, too.
TEST_P(RandomOperations, KeepThemWhileTheBudgetChanges) { operate(true); }

void RandomOperations::operate(bool resize) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  SimDiskOptions disk = GetParam().disk;
  disk.seed = test_seed();
  std::vector<Group> groups{
      {Pool::kExperts, 60, 2, 9}, {Pool::kExperts, 40, 5, 6}, {Pool::kRing, 24, 3, 5}, {Pool::kRing, 9, 17, 3}};
  Residency weights(groups, {.expert_policy = GetParam().policy}, disk, 3);
  Witness witness(weights.weights(), Witness::Eviction::kAllowed, random());
  ResidencyCache& cache = weights.cache();
  std::vector<Ids> held;
  std::vector<uint32_t> n_held(groups.size());
  const auto group_of = [&](ExtentId id) { return weights.extent(id).group; };
  int failures = 0, over_budget = 0;
  const auto release = [&](size_t i) {
    for (const ExtentId id : held[i]) --n_held[group_of(id)];
    cache.release(held[i]);
    held.erase(held.begin() + static_cast<ptrdiff_t>(i));
  };
  const auto holds_at_most_what_it_may = [&] {
    for (size_t g = 0; g < groups.size(); ++g)
      if (n_held[g] > groups[g].slots) return false;
    return true;
  };
  for (int step = 0; step < 2500; ++step) {
    if (resize && random() % 20 == 0) {
      std::vector<uint32_t> slots;
      for (Group& group : groups) slots.push_back(group.slots = 1 + static_cast<uint32_t>(random() % (group.n / 2)));
      weights.resize(slots);
      if (holds_at_most_what_it_may()) {
        ASSERT_TRUE(cache.wait_until_shrunk(kSoon));
        ASSERT_LE(weights.slot_bytes(), weights.slot_bytes_max());
      }
    }
    std::set<ExtentId> chosen;
    const uint32_t near = static_cast<uint32_t>(random() % weights.n_extents());
    for (uint64_t n = 1 + random() % 10; n > 0; --n)
      chosen.insert(ExtentId{static_cast<uint32_t>(near + random() % 20) % weights.n_extents()});
    Ids wanted(chosen.begin(), chosen.end());
    std::shuffle(wanted.begin(), wanted.end(), random);
    switch (random() % 8) {
      case 0:
      case 1:
        cache.request(wanted, static_cast<Priority>(random() % kPriorities));
        break;
      case 2:
        if (random() % 10 == 0) cache.drop_interest();
        break;
      case 3:
        if (!held.empty()) release(random() % held.size());
        break;
      default: {
        if (cache.holdable(wanted) < wanted.size()) {
          const auto refused = cache.acquire(wanted, false);
          ASSERT_FALSE(refused);
          ASSERT_EQ(refused.error().code(), Code::kOutOfBudget);
          ++over_budget;
          break;
        }
        // What is held already counts: somebody who waits for himself waits for ever. An extent may be held twice.
        std::vector<uint32_t> n_wanted(groups.size());
        for (const ExtentId id : wanted) ++n_wanted[group_of(id)];
        for (size_t g = 0; g < groups.size(); ++g)
          while (n_held[g] + n_wanted[g] > groups[g].slots) release(0);
        const auto acquired = cache.acquire(wanted, random() % 10 == 0);
        if (!acquired) {
          ASSERT_THAT(acquired.error().code(), AnyOf(Code::kIo, Code::kChanged));
          ASSERT_THAT(acquired.error().message(), HasSubstr("sim:/0"));
          ++failures;
          break;
        }
        held.push_back(wanted);
        for (const ExtentId id : wanted) ++n_held[group_of(id)];
      }
    }
    for (const Ids& hold : held) {
      ASSERT_TRUE(weights.is_resident(hold)) << step;
      ASSERT_TRUE(weights.reads_as_the_file(hold)) << step;
    }
    if (!resize) {
      ASSERT_LE(cache.stats().resident_bytes, weights.slot_bytes_max()) << step;
    }
  }
  while (!held.empty()) release(0);
  for (uint32_t n = 0; n < weights.n_extents(); ++n)  // whatever happened, everything can still be had
    for (int tries = 0; !weights.use(ids({n})); ++tries) ASSERT_LT(tries, 1000);
  witness.stop();
  EXPECT_EQ(witness.pages_wrong(), 0u);
  EXPECT_GT(witness.pages_seen(), 0u);
  EXPECT_GT(over_budget, 0);
  EXPECT_GE(failures, GetParam().failures_min);
  EXPECT_TRUE(failures == 0 || disk.fault_every_nth > 0);
  weights.close();
  EXPECT_TRUE(weights.weights().read_as_the_file());
}

INSTANTIATE_TEST_SUITE_P(
    Disks, RandomOperations,
    testing::Values(Chaos{"Sound", {}, "lfu"},
                    Chaos{"SometimesFailing", {.fault_every_nth = 37, .short_every_nth = 23}, "lfu"},
                    Chaos{"OftenFailing", {.fault_every_nth = 5, .short_every_nth = 7, .reorder_window = 3}, "lru", 10},
                    Chaos{"Wild", {.reorder_window = 64}, "mru"}),
    [](const auto& chaos) { return chaos.param.name; });

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
