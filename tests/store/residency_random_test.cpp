// SPDX-License-Identifier: MIT
// Random operations on disks of all kinds, against a plain model of what is held.
#include <gmock/gmock.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "base/check.h"
#include "residency_fixture.h"
#include "store/tuning.h"

namespace spillway {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

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

// Who leaves, from the definition: of the resident extents that nobody holds or awaits the least worth keeping, looked
// for one by one.
class PlainCache {
 public:
  PlainCache(std::string_view policy, uint32_t n_extents, uint32_t n_slots)
      : policy_(make_policy(policy, kHalfLife * (n_extents + kFences)).value()),
        half_life_(kHalfLife * (n_extents + kFences)),
        n_slots_(n_slots),
        extents_(n_extents) {}

  void use(const Ids& wanted, bool scan) {
    ask(wanted, scan);
    for (const ExtentId id : wanted) {
      at(id).held = true;
      at(id).awaited = at(id).counted = false;
    }
    for (const ExtentId id : wanted) bring(id);
    for (const ExtentId id : wanted) at(id).held = false;
  }
  void request(const Ids& wanted) {
    ask(wanted, false);
    for (const ExtentId id : wanted) at(id).counted = at(id).awaited = true;
    for (const ExtentId id : wanted) bring(id);
  }
  void drop_interest() {
    for (Plain& plain : extents_) plain.awaited = plain.counted = false;
  }
  Ids resident() const {
    Ids found;
    for (uint32_t n = 0; n < extents_.size(); ++n)
      if (extents_[n].resident) found.push_back(ExtentId{n});
    return found;
  }
  size_t n_awaited() const {
    return static_cast<size_t>(std::count_if(extents_.begin(), extents_.end(), [](auto& e) { return e.awaited; }));
  }

 private:
  static constexpr double kHalfLife = kHeatHalfLifePools;
  static constexpr uint32_t kFences = Residency::kFences;  // they are of the pool, too
  struct Plain {
    bool resident = false, held = false, awaited = false, counted = false;
    Usage usage;
  };

  Plain& at(ExtentId id) { return extents_[index_of(id)]; }
  void ask(const Ids& wanted, bool scan) {
    for (const ExtentId id : wanted)
      if (!at(id).counted) touch(at(id).usage, ++now_, scan, half_life_);
  }
  void bring(ExtentId id) {
    if (at(id).resident) return;
    if (resident().size() == n_slots_) {
      Plain* victim = nullptr;
      for (Plain& other : extents_) {
        if (!other.resident || other.held || other.awaited) continue;
        if (victim == nullptr || policy_->keep_order(other.usage) < policy_->keep_order(victim->usage)) victim = &other;
      }
      CHECK(victim != nullptr);
      victim->resident = false;
    }
    at(id).resident = true;
  }

  const std::unique_ptr<EvictionPolicy> policy_;
  const double half_life_;
  const uint32_t n_slots_;
  std::vector<Plain> extents_;
  uint64_t now_ = 0;
};

class RandomUses : public testing::TestWithParam<const char*> {};

TEST_P(RandomUses, KeepWhatThePlainCacheKeeps) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  constexpr uint32_t kExtents = 40, kSlots = 12;
  Residency weights({{Pool::kExperts, kExtents, 2, kSlots}}, {.expert_policy = GetParam()}, kInOrder);
  PlainCache plain(GetParam(), kExtents, kSlots);
  for (uint32_t step = 0; step < Residency::kFences; ++step) {
    std::set<ExtentId> chosen;
    for (uint64_t n = 1 + random() % 4; n > 0; --n)
      chosen.insert(ExtentId{static_cast<uint32_t>(random() % kExtents * random() % kExtents)});
    Ids wanted(chosen.begin(), chosen.end());
    std::shuffle(wanted.begin(), wanted.end(), random);
    switch (random() % 8) {
      case 0:
        weights.cache().drop_interest();
        plain.drop_interest();
        break;
      case 1:
      case 2:
        if (plain.n_awaited() + 2 * wanted.size() > kSlots) break;  // it is read at once, and who waits finds room
        weights.cache().request(wanted, Priority::kDemand);
        plain.request(wanted);
        break;
      default: {
        if (plain.n_awaited() + wanted.size() > kSlots) break;
        const bool scan = random() % 6 == 0;
        ASSERT_TRUE(weights.use(wanted, scan));
        plain.use(wanted, scan);
      }
    }
    weights.settle();
    ASSERT_EQ(weights.resident(), plain.resident()) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, RandomUses, testing::Values("lfu", "lru", "mru"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace spillway
