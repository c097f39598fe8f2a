// SPDX-License-Identifier: MIT
// What the tests of the residency cache share: a cache over weights on a simulated disk, and a disk that can be held.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "sim_weights.h"
#include "store/residency_cache.h"

namespace spillway {

using testing::SizeIs;
using testing::UnorderedElementsAre;

using Ids = std::vector<ExtentId>;

inline Ids ids(std::initializer_list<uint32_t> numbers) {
  Ids all;
  for (const uint32_t n : numbers) all.push_back(ExtentId{n});
  return all;
}
inline Ids ids_from(uint32_t first, uint32_t count) {
  Ids all;
  for (uint32_t n = first; n < first + count; ++n) all.push_back(ExtentId{n});
  return all;
}
inline Ids reversed(Ids all) {
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
  static constexpr uint32_t kFences = 600;  // how often settle() may be called

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

inline const SimDiskOptions kInOrder{.reorder_window = 1};

inline constexpr std::chrono::seconds kSoon{20};  // only a failure takes that long
inline constexpr std::chrono::milliseconds kNow{0};

}  // namespace spillway
