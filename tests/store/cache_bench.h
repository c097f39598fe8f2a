// SPDX-License-Identifier: MIT
// What the tests of the residency cache share: extents in groups, and slots whose content is noted instead of read.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "ids.h"
#include "store/residency_cache.h"

namespace spillway {

// `n` extents in a slot class of their own, with `slots` slots. Experts are `per_turn` to a layer, each layer's one
// tensor; a group of Pool::kWhole has one extent for each tensor of the experts' group before it.
struct Group {
  Pool pool;
  uint32_t n;
  uint32_t slots;
  uint32_t per_turn = 4;
};

// A cache over groups of extents, numbered through the groups in order. Reads and moves are under way until they are
// finished by name; what lies in each slot is kept track of as a real store's memory would be.
class CacheBench {
 public:
  static constexpr uint64_t kBytes = 1 * MiB;

  explicit CacheBench(const std::vector<Group>& groups, double pool_passes = 4) {
    std::vector<Extent> extents;
    uint32_t tensor = 0, first_expert_tensor = 0;
    for (uint32_t c = 0; c < groups.size(); ++c) {
      const Group& group = groups[c];
      classes_.push_back({.pool = group.pool, .slot_bytes = kBytes, .n_extents = group.n, .n_slots_min = 1});
      if (group.pool == Pool::kExperts) first_expert_tensor = tensor;
      for (uint32_t i = 0; i < group.n; ++i) {
        const bool expert = group.pool == Pool::kExperts, whole = group.pool == Pool::kWhole;
        const uint32_t turn = expert ? i / group.per_turn : i;
        extents.push_back({.pool = group.pool,
                           .slot_class = c,
                           .range = {0, whole ? group.per_turn * kBytes : kBytes},
                           .tensor = whole ? first_expert_tensor + i : tensor + turn,
                           .slice = expert ? i % group.per_turn : 0,
                           .turn = turn});
      }
      if (group.pool != Pool::kWhole) tensor += (group.n + group.per_turn - 1) / group.per_turn;
    }
    cache_.emplace(std::move(extents), classes_, pool_passes);
    std::vector<uint32_t> n_slots;
    for (const Group& group : groups) n_slots.push_back(group.slots);
    content_.resize(groups.size());
    resize(n_slots);
  }

  ResidencyCache& cache() { return *cache_; }

  void resize(const std::vector<uint32_t>& n_slots) {
    cache_->set_n_slots(n_slots);
    adjust_memory();
  }
  // What a store does with memory: gives back what nobody wants or uses, takes what is wanted.
  void adjust_memory() {
    for (uint32_t c = 0; c < classes_.size(); ++c) {
      cache_->grant(c, std::max(cache_->n_wanted(c), cache_->n_occupied(c)));
      content_[c].resize(cache_->n_granted(c));
    }
  }

  // Begins all that can begin, and returns it.
  std::vector<ResidencyCache::Step> begin_all() {
    std::vector<ResidencyCache::Step> begun;
    while (auto step = cache_->next()) {
      begun.push_back(*step);
      if (step->work == ResidencyCache::Work::kRead) slot(step->id, step->slot).reset();
      check_copies(*step);
      under_way_.push_back(*step);
    }
    return begun;
  }
  Ids begin_reads() {
    Ids ids;
    for (const ResidencyCache::Step& step : begin_all())
      if (step.work == ResidencyCache::Work::kRead) ids.push_back(step.id);
    return ids;
  }
  size_t n_under_way() const { return under_way_.size(); }
  void finish(size_t i, bool fails = false) {
    const ResidencyCache::Step step = under_way_.at(i);
    under_way_.erase(under_way_.begin() + static_cast<ptrdiff_t>(i));
    check_copies(step);
    if (step.work == ResidencyCache::Work::kMove) {
      ASSERT_EQ(slot(step.id, step.from_slot), step.id) << "what is moved was overwritten";
      slot(step.id, step.slot) = step.id;
    } else if (!fails) {
      slot(step.id, step.slot) = step.id;
    }
    fails ? cache_->failed(step.id) : cache_->arrived(step.id);
    adjust_memory();
  }
  // The first under way that is a read may fail; moves do not.
  bool is_read(size_t i) const { return under_way_.at(i).work == ResidencyCache::Work::kRead; }
  // All that is begun or can be.
  void settle() {
    do {
      begin_all();
      while (n_under_way() > 0) finish(0);
    } while (!begin_all().empty());
  }

  bool is_where_it_should_be(ExtentId id) const {
    const Extent& extent = cache_->extent(id);
    return cache_->is_resident(id) && content_[extent.slot_class].at(cache_->slot_of(id)) == id;
  }
  Ids resident() const {
    Ids found;
    for (uint32_t n = 0; n < cache_->n_extents(); ++n)
      if (cache_->is_resident(ExtentId{n})) found.push_back(ExtentId{n});
    return found;
  }

  // Holds, waits and lets go: one use.
  void use(const Ids& wanted, bool scan = false) {
    ASSERT_TRUE(cache_->can_hold(wanted));
    ResidencyCache::Hold hold;
    cache_->hold(wanted, scan, hold);
    for (int i = 0; i < 100 && cache_->state_of(hold) == ResidencyCache::HoldState::kWaiting; ++i) settle_once();
    ASSERT_EQ(cache_->state_of(hold), ResidencyCache::HoldState::kReady);
    for (const ExtentId id : wanted) ASSERT_TRUE(is_where_it_should_be(id));
    cache_->let_go(wanted);
    adjust_memory();
  }
  void settle_once() {
    begin_all();
    while (n_under_way() > 0) finish(0);
  }

 private:
  std::optional<ExtentId>& slot(ExtentId id, uint32_t number) {
    return content_[cache_->extent(id).slot_class].at(number);
  }
  void check_copies(const ResidencyCache::Step& step) {
    for (size_t i = 0; i < step.copied.size(); ++i)
      ASSERT_EQ(slot(step.copied[i], step.copied_slots[i]), step.copied[i]) << "a slice left while it was copied";
  }

  std::vector<SlotClass> classes_;
  std::optional<ResidencyCache> cache_;
  std::vector<std::vector<std::optional<ExtentId>>> content_;  // [n_class][n_granted]
  std::deque<ResidencyCache::Step> under_way_;
};

}  // namespace spillway
