// SPDX-License-Identifier: MIT
#include "store/residency_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "os/machine.h"
#include "store/tuning.h"

namespace spillway {
namespace {

size_t index_of(Pool pool) { return static_cast<size_t>(pool); }

}  // namespace

Result<std::unique_ptr<ResidencyCache>> ResidencyCache::open(WeightSpace& space, std::vector<Extent> extents,
                                                             std::unique_ptr<ReadRing> ring, CacheOptions options) {
  if (options.read_bytes == 0) options.read_bytes = kReadBytesDefault;
  SlotClasses classes = choose_slot_classes(extents);
  if (options.n_slots.size() != classes.slot_bytes.size())
    return error(Code::kInvalidArgument, fmt::format("{} slot classes for extents of {} lengths",
                                                     options.n_slots.size(), classes.slot_bytes.size()));
  for (const uint32_t n : options.n_slots)
    if (n == 0) return error(Code::kInvalidArgument, "a slot class without slots");
  std::array<double, 2> n_in_pool{};
  for (const Extent& extent : extents) n_in_pool[index_of(extent.pool)] += 1;
  const double half_life = kHeatHalfLifePools * std::max(1.0, n_in_pool[index_of(Pool::kExperts)]);
  ASSIGN_OR_RETURN(auto ring_policy, make_policy("mru", half_life));
  ASSIGN_OR_RETURN(auto expert_policy, make_policy(options.expert_policy, half_life));
  std::unique_ptr<ResidencyCache> cache(new ResidencyCache(space, std::move(extents), std::move(ring),
                                                           std::move(options), std::move(classes),
                                                           std::move(ring_policy), std::move(expert_policy)));
  cache->half_life_accesses_.fill(half_life);
  cache->reader_ = std::thread([self = cache.get()] { self->read_loop(); });
  return cache;
}

ResidencyCache::ResidencyCache(WeightSpace& space, std::vector<Extent> extents, std::unique_ptr<ReadRing> ring,
                               CacheOptions options, SlotClasses classes, std::unique_ptr<EvictionPolicy> ring_policy,
                               std::unique_ptr<EvictionPolicy> expert_policy)
    : space_(space),
      extents_(std::move(extents)),
      options_(std::move(options)),
      classes_(std::move(classes)),
      n_members_(classes_.slot_bytes.size()),
      ring_policy_(std::move(ring_policy)),
      expert_policy_(std::move(expert_policy)),
      ring_(std::move(ring)),
      reads_(space_, *ring_, options_.read_bytes),
      slot_memory_(*ring_),
      entries_(extents_.size()),
      pool_(classes_.slot_bytes, options_.n_slots),
      n_slots_(options_.n_slots),
      n_pinned_(classes_.slot_bytes.size()),
      queue_(classes_.class_of, classes_.slot_bytes.size()),
      idle_order_(classes_.class_of, classes_.slot_bytes.size()),
      awaited_order_(classes_.class_of, classes_.slot_bytes.size()) {
  for (const uint32_t slot_class : classes_.class_of) ++n_members_[slot_class];
}

ResidencyCache::~ResidencyCache() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  work_.notify_all();
  if (reader_.joinable()) reader_.join();
}

void ResidencyCache::request(std::span<const ExtentId> ids, Priority priority, bool scan) {
  const double cpu_start_s = thread_cpu_s();
  {
    MutexLock lock(mu_);
    for (const ExtentId id : ids) {
      if (priority == Priority::kDemand) {
        Entry& asked = entry(id);
        if (!asked.counted) count_use(id, scan);
        asked.counted = true;
        set_awaited(id, true);
        if (asked.state != State::kResident) enqueue(id, priority);
      } else {
        enqueue(id, priority);
      }
    }
    stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  }
  work_.notify_one();
}

void ResidencyCache::enqueue(ExtentId id, Priority priority) {
  if (entry(id).state == State::kReading) return;
  if (!queue_.push_back(id, priority)) return;
  idle_ = false;
  reorder(id);
}

void ResidencyCache::enqueue_first(ExtentId id, Priority priority) {
  if (entry(id).state == State::kReading) return;
  queue_.push_front(id, priority);
  idle_ = false;
  reorder(id);
}

void ResidencyCache::count_use(ExtentId id, bool scan) {
  Entry& used = entry(id);
  const bool hit = used.state == State::kResident;
  used.guessed = false;
  (hit ? stats_.hits : stats_.misses) += 1;
  (hit ? stats_.bytes_hit : stats_.bytes_missed) += extent(id).pages.bytes;
  if (extent(id).pool == Pool::kExperts) (hit ? stats_.expert_hits : stats_.expert_misses) += 1;
  const size_t pool = index_of(extent(id).pool);
  touch(used.usage, ++accesses_[pool], scan, half_life_accesses_[pool]);
  reorder(id);
}

size_t ResidencyCache::holdable(std::span<const ExtentId> ids) const {
  MutexLock lock(mu_);
  return holdable_locked(ids);
}

size_t ResidencyCache::holdable_locked(std::span<const ExtentId> ids) const {
  std::vector<uint32_t> taken(classes_.slot_bytes.size());
  size_t n = 0;
  for (const ExtentId id : ids) {
    if (++taken[class_of(id)] > n_slots_[class_of(id)]) break;
    ++n;
  }
  return n;
}

Result<void> ResidencyCache::acquire(std::span<const ExtentId> ids, bool scan) {
  const double cpu_start_s = thread_cpu_s();
  MutexLock lock(mu_);
  if (holdable_locked(ids) < ids.size())
    return error(Code::kOutOfBudget,
                 fmt::format("{} extents are needed at once, more than fit in the memory for streaming", ids.size()));
  // 1. Pin all, so that making room for one does not evict another; queue what is not there.
  std::vector<uint32_t> failures_before(ids.size());
  bool missing = false;
  for (size_t i = 0; i < ids.size(); ++i) {
    Entry& wanted = entry(ids[i]);
    if (!wanted.counted) count_use(ids[i], scan);
    wanted.counted = false;
    failures_before[i] = wanted.failures;
    pin(ids[i]);
    ++wanted.waiters;
    set_awaited(ids[i], false);
    if (wanted.state == State::kReading) wanted.again = true;  // what was wrong earlier may be mended
    missing = missing || wanted.state != State::kResident;
  }
  // Before what was only asked for: behind requests that wait for slots, which only we can free, its turn would never
  // come.
  for (size_t i = ids.size(); i-- > 0;)
    if (entry(ids[i]).state != State::kResident) enqueue_first(ids[i], Priority::kDemand);
  // 2. Wait until each has arrived, or one has failed.
  bool failed = false;
  if (missing) {
    work_.notify_one();
    const Stopwatch waited;
    const auto all_here = [&]() REQUIRES(mu_) {
      bool here = true;
      for (size_t i = 0; i < ids.size(); ++i) {
        if (entry(ids[i]).state == State::kResident) continue;
        here = false;
        if (entry(ids[i]).failures != failures_before[i]) failed = true;
      }
      return here;
    };
    while (!all_here() && !failed) arrived_.wait(mu_);
    stats_.wait_s += waited.elapsed_s();
  }
  // 3. Keep the pins, or give them all back.
  for (const ExtentId id : ids) {
    --entry(id).waiters;
    if (failed) unpin(id);
  }
  stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  if (!failed) return {};
  work_.notify_one();
  return tl::unexpected<Status>(last_failure_);
}

void ResidencyCache::release(std::span<const ExtentId> ids) {
  const double cpu_start_s = thread_cpu_s();
  {
    MutexLock lock(mu_);
    for (const ExtentId id : ids) {
      CHECK(entry(id).pins > 0);
      unpin(id);
      // Used up, and wanted again one cycle from now: behind all others. So the queue learns the order of use by
      // itself, and reading ahead goes on over the end of a pass.
      if (extent(id).pool == Pool::kRing) enqueue(id, Priority::kCertain);
    }
    stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  }
  work_.notify_one();
}

void ResidencyCache::pin(ExtentId id) {
  if (entry(id).pins++ > 0) return;
  ++n_pinned_[class_of(id)];
  reorder(id);
}

void ResidencyCache::unpin(ExtentId id) {
  if (--entry(id).pins > 0) return;
  const uint32_t slot_class = class_of(id);
  --n_pinned_[slot_class];
  const uint32_t n = std::max(n_slots_[slot_class], std::min(n_pinned_[slot_class], pool_.n_slots(slot_class)));
  pool_.set_n_slots(slot_class, n);
  reorder(id);
}

Result<void> ResidencyCache::set_n_slots(std::span<const uint32_t> n_slots) {
  {
    MutexLock lock(mu_);
    if (n_slots.size() != n_slots_.size() || std::count(n_slots.begin(), n_slots.end(), 0u) > 0)
      return error(Code::kInvalidArgument, "each slot class needs a number of slots, at least one");
    for (uint32_t c = 0; c < n_slots.size(); ++c) {
      n_slots_[c] = std::min(n_slots[c], n_members_[c]);
      // Whoever is waiting was promised as many as there were when he began.
      pool_.set_n_slots(c, std::max(n_slots_[c], std::min(n_pinned_[c], pool_.n_slots(c))));
    }
    removal_failed_ = false;
    idle_ = false;
  }
  work_.notify_one();
  return {};
}

uint32_t ResidencyCache::n_slots(uint32_t slot_class) const {
  MutexLock lock(mu_);
  return n_slots_.at(slot_class);
}

bool ResidencyCache::is_shrunk() const {
  if (removing_) return false;
  for (uint32_t c = 0; c < n_slots_.size(); ++c)
    if (pool_.n_slots(c) > n_slots_[c] || pool_.has_surplus(c)) return false;
  return true;
}

bool ResidencyCache::wait_until_shrunk(std::chrono::milliseconds timeout) {
  const Stopwatch waited;
  MutexLock lock(mu_);
  while (!is_shrunk()) {
    const auto left = timeout - std::chrono::milliseconds(static_cast<int64_t>(waited.elapsed_s() * 1e3));
    if (left.count() <= 0) return false;
    arrived_.wait_for(mu_, left);
  }
  return true;
}

bool ResidencyCache::wait_until_read(std::chrono::milliseconds timeout) {
  MutexLock lock(mu_);
  if (!idle_) arrived_.wait_for(mu_, timeout);
  return idle_;
}

void ResidencyCache::forbid_eviction() {
  MutexLock lock(mu_);
  eviction_forbidden_ = true;
  while (evicting_) arrived_.wait(mu_);
}

void ResidencyCache::allow_eviction() {
  {
    MutexLock lock(mu_);
    if (!eviction_forbidden_) return;
    eviction_forbidden_ = false;
  }
  work_.notify_one();
}

void ResidencyCache::cancel(std::span<const ExtentId> ids) {
  {
    MutexLock lock(mu_);
    for (const ExtentId id : ids) {
      const Entry& guess = entry(id);
      if (guess.pins > 0 || guess.counted) continue;
      set_awaited(id, false);
      if (queue_.priority_of(id) == Priority::kLikely) queue_.remove(id);
    }
  }
  work_.notify_one();
}

void ResidencyCache::drop_interest() {
  MutexLock lock(mu_);
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    const ExtentId id{i};
    if (extent(id).pool == Pool::kRing) continue;  // the cycle goes on with the next pass
    set_awaited(id, false);
    entry(id).counted = false;
    if (entry(id).pins == 0 && queue_.priority_of(id) != Priority::kSpeculative) queue_.remove(id);
  }
  work_.notify_one();
}

void ResidencyCache::set_state(ExtentId id, State state) {
  if (entry(id).state == State::kResident) resident_bytes_ -= extent(id).pages.bytes;
  if (state == State::kResident) resident_bytes_ += extent(id).pages.bytes;
  entry(id).state = state;
  reorder(id);
}

void ResidencyCache::set_awaited(ExtentId id, bool awaited) {
  if (entry(id).awaited == awaited) return;
  entry(id).awaited = awaited;
  reorder(id);
}

// To be called whenever something has changed that decides who may be evicted, and before whom.
void ResidencyCache::reorder(ExtentId id) {
  const Entry& changed = entry(id);
  const bool may_go = changed.state == State::kResident && changed.pins == 0;
  if (may_go && changed.awaited)
    awaited_order_.put(id, {.worth = -static_cast<double>(queue_.ticket_of(id))});
  else
    awaited_order_.remove(id);
  const EvictionPolicy& policy = extent(id).pool == Pool::kRing ? *ring_policy_ : *expert_policy_;
  if (may_go && !changed.awaited)
    idle_order_.put(id, policy.keep_order(changed.usage));
  else
    idle_order_.remove(id);
}

bool ResidencyCache::is_resident(ExtentId id) const {
  MutexLock lock(mu_);
  return entry(id).state == State::kResident;
}

bool ResidencyCache::all_resident(std::span<const ExtentId> ids) const {
  MutexLock lock(mu_);
  return std::all_of(ids.begin(), ids.end(),
                     [this](ExtentId id) REQUIRES(mu_) { return entry(id).state == State::kResident; });
}

CacheStats ResidencyCache::stats() const {
  MutexLock lock(mu_);
  CacheStats stats = stats_;
  stats.resident_bytes = resident_bytes_;
  stats.slot_bytes = pool_.bytes_made();
  return stats;
}

uint64_t ResidencyCache::slot_bytes() const {
  MutexLock lock(mu_);
  return pool_.bytes_made();
}

void ResidencyCache::reset_stats() {
  MutexLock lock(mu_);
  stats_ = {};
}

std::vector<bool> ResidencyCache::resident() const {
  MutexLock lock(mu_);
  std::vector<bool> resident;
  resident.reserve(entries_.size());
  for (const Entry& each : entries_) resident.push_back(each.state == State::kResident);
  return resident;
}

std::vector<double> ResidencyCache::heat() const {
  MutexLock lock(mu_);
  std::vector<double> heat;
  for (const Entry& each : entries_) heat.push_back(each.usage.heat);
  return heat;
}

void ResidencyCache::set_heat(std::span<const double> heat) {
  MutexLock lock(mu_);
  for (uint32_t i = 0; i < std::min(heat.size(), entries_.size()); ++i) {
    entries_[i].usage.heat = heat[i];
    reorder(ExtentId{i});
  }
}

}  // namespace spillway
