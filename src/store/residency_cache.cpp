// SPDX-License-Identifier: MIT
#include "store/residency_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "os/machine.h"
#include "store/tuning.h"

namespace spillway {
namespace {

size_t index_of(Pool pool) { return static_cast<size_t>(pool); }
size_t index_of(Priority priority) { return static_cast<size_t>(priority); }

constexpr int32_t kNotYet = -2;  // memory that the ring does not know

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
      members_(classes_.slot_bytes.size()),
      ring_policy_(std::move(ring_policy)),
      expert_policy_(std::move(expert_policy)),
      ring_(std::move(ring)),
      chunks_(ring_->depth()),
      entries_(extents_.size()),
      pool_(classes_.slot_bytes, options_.n_slots),
      n_slots_(options_.n_slots),
      n_pinned_(classes_.slot_bytes.size()),
      queues_(classes_.slot_bytes.size()) {
  for (uint32_t i = 0; i < extents_.size(); ++i) members_[classes_.class_of[i]].push_back(ExtentId{i});
  for (uint32_t i = 0; i < chunks_.size(); ++i) free_chunks_.push_back(i);
}

ResidencyCache::~ResidencyCache() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  work_.notify_all();
  if (reader_.joinable()) reader_.join();
}

// --- callers -------------------------------------------------------------------------------------------------------

void ResidencyCache::enqueue(ExtentId id, Priority priority) {
  const Entry& entry = entries_[spillway::index_of(id)];
  if (entry.state == State::kReading) return;
  if (entry.queued && entry.priority <= priority) return;
  queues_[classes_.class_of[spillway::index_of(id)]][index_of(priority)].push_back(
      take_place(id, priority, ++last_ticket_));
}

void ResidencyCache::enqueue_first(ExtentId id, Priority priority) {
  if (entries_[spillway::index_of(id)].state == State::kReading) return;
  queues_[classes_.class_of[spillway::index_of(id)]][index_of(priority)].push_front(
      take_place(id, priority, --first_ticket_));
}

// A place taken earlier turns stale and is skipped when it comes up. Were it valid again after the next enqueue, an
// extent just used would be read first and not last in the cycle.
ResidencyCache::Place ResidencyCache::take_place(ExtentId id, Priority priority, int64_t ticket) {
  Entry& entry = entries_[spillway::index_of(id)];
  entry.queued = true;
  idle_ = false;
  entry.priority = priority;
  entry.ticket = ticket;
  return {id, ticket};
}

void ResidencyCache::await(ExtentId id, Priority priority) {
  Entry& entry = entries_[spillway::index_of(id)];
  entry.awaited = true;
  if (entry.state != State::kResident) enqueue(id, priority);
}

void ResidencyCache::request(std::span<const ExtentId> ids, Priority priority, bool scan) {
  const double cpu_start_s = thread_cpu_s();
  {
    MutexLock lock(mu_);
    for (const ExtentId id : ids) {
      if (priority == Priority::kDemand) {
        if (!entries_[spillway::index_of(id)].counted) count_use(id, scan);
        entries_[spillway::index_of(id)].counted = true;
        await(id, priority);
      } else {
        enqueue(id, priority);
      }
    }
    stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  }
  work_.notify_one();
}

void ResidencyCache::count_use(ExtentId id, bool scan) {
  Entry& entry = entries_[spillway::index_of(id)];
  const Extent& extent = extents_[spillway::index_of(id)];
  const bool hit = entry.state == State::kResident;
  entry.guessed = false;
  (hit ? stats_.hits : stats_.misses) += 1;
  (hit ? stats_.bytes_hit : stats_.bytes_missed) += extent.pages.bytes;
  const size_t pool = index_of(extent.pool);
  touch(entry.usage, ++accesses_[pool], scan, half_life_accesses_[pool]);
}

size_t ResidencyCache::holdable(std::span<const ExtentId> ids) const {
  MutexLock lock(mu_);
  return holdable_locked(ids);
}

size_t ResidencyCache::holdable_locked(std::span<const ExtentId> ids) const {
  std::vector<uint32_t> taken(classes_.slot_bytes.size());
  size_t n = 0;
  for (const ExtentId id : ids) {
    const uint32_t slot_class = classes_.class_of[spillway::index_of(id)];
    if (++taken[slot_class] > n_slots_[slot_class]) break;
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
    Entry& entry = entries_[spillway::index_of(ids[i])];
    if (!entry.counted) count_use(ids[i], scan);
    entry.counted = false;
    failures_before[i] = entry.failures;
    pin(ids[i]);
    ++entry.waiters;
    entry.awaited = false;
    missing = missing || entry.state != State::kResident;
  }
  // Before what was only asked for: behind requests that wait for slots, which only we can free, its turn would never
  // come.
  for (size_t i = ids.size(); i-- > 0;)
    if (entries_[spillway::index_of(ids[i])].state != State::kResident) enqueue_first(ids[i], Priority::kDemand);
  // 2. Wait until each has arrived, or one has failed.
  bool failed = false;
  if (missing) {
    work_.notify_one();
    const Stopwatch waited;
    const auto all_here = [&]() REQUIRES(mu_) {
      bool here = true;
      for (size_t i = 0; i < ids.size(); ++i) {
        const Entry& entry = entries_[spillway::index_of(ids[i])];
        if (entry.state == State::kResident) continue;
        here = false;
        if (entry.failures != failures_before[i]) failed = true;
      }
      return here;
    };
    while (!all_here() && !failed) arrived_.wait(mu_);
    stats_.wait_s += waited.elapsed_s();
  }
  // 3. Keep the pins, or give them all back.
  for (const ExtentId id : ids) {
    Entry& entry = entries_[spillway::index_of(id)];
    --entry.waiters;
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
      const Entry& entry = entries_[spillway::index_of(id)];
      CHECK(entry.pins > 0);
      unpin(id);
      // Used up, and wanted again one cycle from now: behind all others. So the queue learns the order of use by
      // itself, and reading ahead goes on over the end of a pass.
      if (extents_[spillway::index_of(id)].pool == Pool::kRing) enqueue(id, Priority::kCertain);
    }
    stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  }
  work_.notify_one();
}

void ResidencyCache::pin(ExtentId id) {
  if (entries_[spillway::index_of(id)].pins++ == 0) ++n_pinned_[classes_.class_of[spillway::index_of(id)]];
}

void ResidencyCache::unpin(ExtentId id) {
  if (--entries_[spillway::index_of(id)].pins > 0) return;
  const uint32_t slot_class = classes_.class_of[spillway::index_of(id)];
  --n_pinned_[slot_class];
  const uint32_t n = std::max(n_slots_[slot_class], std::min(n_pinned_[slot_class], pool_.n_slots(slot_class)));
  pool_.set_n_slots(slot_class, n);
}

Result<void> ResidencyCache::set_n_slots(std::span<const uint32_t> n_slots) {
  {
    MutexLock lock(mu_);
    if (n_slots.size() != n_slots_.size() || std::count(n_slots.begin(), n_slots.end(), 0u) > 0)
      return error(Code::kInvalidArgument, "each slot class needs a number of slots, at least one");
    for (uint32_t c = 0; c < n_slots.size(); ++c) {
      n_slots_[c] = std::min(n_slots[c], static_cast<uint32_t>(members_[c].size()));
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
      Entry& entry = entries_[spillway::index_of(id)];
      if (entry.pins > 0 || entry.counted) continue;
      entry.awaited = false;
      if (entry.priority == Priority::kLikely) entry.queued = false;
    }
  }
  work_.notify_one();
}

void ResidencyCache::drop_interest() {
  MutexLock lock(mu_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (extents_[i].pool == Pool::kRing) continue;  // the cycle goes on with the next pass
    entries_[i].awaited = false;
    entries_[i].counted = false;
    if (entries_[i].pins == 0 && entries_[i].priority != Priority::kSpeculative) entries_[i].queued = false;
  }
  work_.notify_one();
}

bool ResidencyCache::is_resident(ExtentId id) const {
  MutexLock lock(mu_);
  return entries_[spillway::index_of(id)].state == State::kResident;
}

CacheStats ResidencyCache::stats() const {
  MutexLock lock(mu_);
  CacheStats stats = stats_;
  for (size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].state == State::kResident) stats.resident_bytes += extents_[i].pages.bytes;
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
  for (const Entry& entry : entries_) resident.push_back(entry.state == State::kResident);
  return resident;
}

std::vector<double> ResidencyCache::heat() const {
  MutexLock lock(mu_);
  std::vector<double> heat;
  for (const Entry& entry : entries_) heat.push_back(entry.usage.heat);
  return heat;
}

void ResidencyCache::set_heat(std::span<const double> heat) {
  MutexLock lock(mu_);
  for (size_t i = 0; i < std::min(heat.size(), entries_.size()); ++i) entries_[i].usage.heat = heat[i];
}

// --- the reader thread ---------------------------------------------------------------------------------------------

void ResidencyCache::read_loop() {
  name_thread("spillway-reader");
  std::vector<ReadOutcome> outcomes;
  const double cpu_start_s = thread_cpu_s();
  double busy_since_s = 0, cpu_counted_s = 0;
  for (;;) {
    // 1. Begin what can begin, until the ring's depth is spoken for: not more, so that demand never queues behind
    // read-ahead.
    for (;;) {
      Start start;
      Removal removal;
      {
        MutexLock lock(mu_);
        const double cpu_s = thread_cpu_s() - cpu_start_s;
        stats_.reader_cpu_s += cpu_s - cpu_counted_s - setup_cpu_s_;
        stats_.setup_cpu_s += setup_cpu_s_;
        cpu_counted_s = cpu_s;
        setup_cpu_s_ = 0;
        // Memory that others need goes first: while it is taken, they wait or are killed.
        const bool can_remove = !stopping_ && find_removal(removal);
        const bool can_begin = !can_remove && !stopping_ && unsent_.empty() && find_start(start);
        if (!can_remove && !can_begin) {
          if (ring_->in_flight() > 0 || !unsent_.empty()) break;
          if (busy_since_s != 0) stats_.reader_busy_s += monotonic_s() - busy_since_s;
          busy_since_s = 0;
          if (stopping_) return;
          idle_ = true;
          arrived_.notify_all();
          work_.wait(mu_);
          continue;
        }
      }
      if (removal.slot != SlotId::kNone) {
        remove(removal);
        continue;
      }
      if (busy_since_s == 0) busy_since_s = monotonic_s();
      begin(start);
      submit_chunks();
    }
    // 2. Take what has arrived; refill the ring from reads already begun.
    submit_chunks();
    if (ring_->in_flight() == 0) continue;
    outcomes.clear();
    ring_->wait(outcomes);
    for (const ReadOutcome& outcome : outcomes) complete(outcome);
    submit_chunks();
    MutexLock lock(mu_);
    const double now_s = monotonic_s();
    if (busy_since_s != 0) stats_.reader_busy_s += now_s - busy_since_s;
    busy_since_s = now_s;
  }
}

// The next extent to read and the slot for it. Higher priorities first; the first of a class that finds no slot holds
// up its class and no other.
bool ResidencyCache::find_start(Start& start) {
  for (const Priority priority : {Priority::kDemand, Priority::kCertain, Priority::kLikely, Priority::kSpeculative}) {
    int64_t after = std::numeric_limits<int64_t>::min();
    while (Queue* queue = next_queue(priority, after)) {
      const auto [id, ticket] = queue->front();
      Entry& entry = entries_[spillway::index_of(id)];
      const bool resident = entry.state == State::kResident;  // nobody took its slot meanwhile: kept, nothing to read
      if (!resident && !find_slot(id, start)) {
        after = ticket;
        continue;
      }
      queue->pop_front();
      entry.queued = false;
      if (priority != Priority::kSpeculative && entry.pins == 0) entry.awaited = true;
      if (resident) continue;
      entry.state = State::kReading;
      entry.guessed = priority == Priority::kLikely;
      return true;
    }
  }
  return false;
}

// Of all classes the queue whose first place has the lowest ticket above `after`; nullptr when there is none.
ResidencyCache::Queue* ResidencyCache::next_queue(Priority priority, int64_t after) {
  const auto is_stale = [this](const Place& place) REQUIRES(mu_) {  // dropped, or asked for at another place since
    const Entry& entry = entries_[spillway::index_of(place.id)];
    return !entry.queued || entry.ticket != place.ticket;
  };
  Queue* next = nullptr;
  for (auto& queues : queues_) {
    Queue& queue = queues[index_of(priority)];
    while (!queue.empty() && is_stale(queue.front())) queue.pop_front();
    if (queue.empty() || queue.front().ticket <= after) continue;
    if (next == nullptr || queue.front().ticket < next->front().ticket) next = &queue;
  }
  return next;
}

bool ResidencyCache::find_slot(ExtentId id, Start& start) {
  const uint32_t slot_class = classes_.class_of[spillway::index_of(id)];
  Entry& entry = entries_[spillway::index_of(id)];
  start = {.id = id};
  auto taken = pool_.take(slot_class);
  if (!taken) {  // no address space: as a failed read, for whoever waits
    last_failure_ = taken.error();
    ++entry.failures;
    arrived_.notify_all();
    return false;
  }
  start.slot = *taken;
  if (start.slot == SlotId::kNone) {
    if (entry.priority == Priority::kSpeculative) return false;  // a guess fills free memory and no more
    // When somebody is blocked on `id` and all that could go was read ahead for later, that goes: it will be read
    // again, but nobody waits for ever.
    if (!find_victim(slot_class, entry.waiters > 0, start.victim)) return false;
    start.evict = true;
    start.slot = take_from(start.victim);
  }
  entry.slot = start.slot;
  return true;
}

// The extent turns absent; its pages are where they were until withdraw() is called.
SlotId ResidencyCache::take_from(ExtentId id) {
  Entry& victim = entries_[spillway::index_of(id)];
  evicting_ = true;
  victim.state = State::kAbsent;
  if (victim.guessed) stats_.bytes_wasted += extents_[spillway::index_of(id)].pages.bytes;
  // Read ahead and lost to a caller: it stays in the cycle. Were it dropped, the queue would run empty and an extent
  // just used would be kept for the next pass at once, leaving no memory to read ahead into (11 misses of 20 in every
  // pass).
  if (victim.awaited && extents_[spillway::index_of(id)].pool == Pool::kRing) enqueue_first(id, Priority::kCertain);
  victim.awaited = false;
  return std::exchange(victim.slot, SlotId::kNone);
}

// False: the system refused, and the extent is resident as before.
bool ResidencyCache::withdraw(ExtentId victim, SlotId slot, std::byte* staging) {
  const auto withdrawn = space_.withdraw(extents_[spillway::index_of(victim)], staging);
  MutexLock lock(mu_);
  evicting_ = false;
  if (!withdrawn) {
    Entry& entry = entries_[spillway::index_of(victim)];
    entry.state = State::kResident;
    entry.slot = slot;
    last_failure_ = withdrawn.error();
  }
  if (eviction_forbidden_ || !withdrawn) arrived_.notify_all();
  return withdrawn.has_value();
}

// A slot of a class that has too many: a free one, or that of the extent least worth keeping.
bool ResidencyCache::find_removal(Removal& removal) {
  if (removal_failed_) return false;
  for (uint32_t c = 0; c < members_.size(); ++c) {
    if (!pool_.has_surplus(c)) continue;
    removal.slot = pool_.take_surplus(c);
    if (removal.slot == SlotId::kNone && find_victim(c, true, removal.victim)) {
      removal.evict = true;
      removal.slot = take_from(removal.victim);
    }
    if (removal.slot == SlotId::kNone) continue;  // all pinned or being read
    removal.staging = pool_.staging(removal.slot);
    removing_ = true;
    return true;
  }
  return false;
}

void ResidencyCache::remove(const Removal& removal) {
  const bool withdrawn = !removal.evict || withdraw(removal.victim, removal.slot, removal.staging);
  if (withdrawn) {
    const auto index = static_cast<uint32_t>(removal.slot);
    if (index < memory_of_.size() && memory_of_[index] != kNotYet) {
      ring_->unregister_memory(memory_of_[index]);
      memory_of_[index] = kNotYet;
    }
    Region region;
    {
      MutexLock lock(mu_);
      region = pool_.remove(removal.slot);
    }
  }
  {
    MutexLock lock(mu_);
    removing_ = false;
    removal_failed_ = !withdrawn;
  }
  arrived_.notify_all();
}

// The least worth keeping of a class; else, `even_awaited`, the latest of what was read ahead.
bool ResidencyCache::find_victim(uint32_t slot_class, bool even_awaited, ExtentId& victim) const {
  if (eviction_forbidden_) return false;
  const std::vector<ExtentId>& members = members_[slot_class];
  const Pool pool = extents_[spillway::index_of(members.front())].pool;
  const EvictionPolicy& policy = pool == Pool::kRing ? *ring_policy_ : *expert_policy_;
  const uint64_t now = accesses_[index_of(pool)];
  double lowest = std::numeric_limits<double>::infinity();
  bool found = false;
  ExtentId awaited{};
  bool found_awaited = false;
  for (const ExtentId other : members) {
    const Entry& entry = entries_[spillway::index_of(other)];
    if (entry.state != State::kResident || entry.pins > 0) continue;
    if (entry.awaited) {
      if (!found_awaited || entry.ticket > entries_[spillway::index_of(awaited)].ticket) awaited = other;
      found_awaited = true;
      continue;
    }
    const double score = policy.keep_score(entry.usage, now);
    if (score >= lowest) continue;
    lowest = score;
    victim = other;
    found = true;
  }
  if (found) return true;
  if (!even_awaited || !found_awaited) return false;
  victim = awaited;
  return true;
}

void ResidencyCache::begin(const Start& start) {
  std::byte* staging = nullptr;
  {
    MutexLock lock(mu_);
    staging = pool_.staging(start.slot);
  }
  Read read{.id = start.id, .slot = start.slot, .staging = staging, .failure = std::nullopt};
  if (start.evict && !withdraw(start.victim, start.slot, staging)) {
    MutexLock lock(mu_);
    const Status failure = last_failure_;
    read.slot = SlotId::kNone;  // the victim has it again
    return fail_locked(read, failure);
  }
  read.memory = memory_of(start.slot, staging, classes_.slot_bytes[classes_.class_of[spillway::index_of(start.id)]]);
  uint32_t index = 0;
  while (index < reads_.size() && reads_[index].slot != SlotId::kNone) ++index;
  if (index == reads_.size()) reads_.emplace_back();
  reads_[index] = read;
  unsent_.push_back(index);
}

int32_t ResidencyCache::memory_of(SlotId slot, std::byte* staging, uint64_t bytes) {
  const auto index = static_cast<uint32_t>(slot);
  if (index >= memory_of_.size()) memory_of_.resize(index + 1, kNotYet);
  if (memory_of_[index] == kNotYet) {
    // The system clears these pages now; that is no cost of streaming, and in a virtual machine it can be the larger
    // one.
    const double cpu_start_s = thread_cpu_s();
    memory_of_[index] = ring_->register_memory(staging, bytes);
    if (memory_of_[index] < 0)
      for (uint64_t at = 0; at < bytes; at += kPageBytes) staging[at] = std::byte{0};
    setup_cpu_s_ += thread_cpu_s() - cpu_start_s;
  }
  return memory_of_[index];
}

void ResidencyCache::submit_chunks() {
  while (!unsent_.empty() && !free_chunks_.empty()) {
    Read& read = reads_[unsent_.front()];
    const uint64_t bytes_left = extents_[spillway::index_of(read.id)].pages.bytes - read.next_offset;
    const uint32_t index = free_chunks_.back();
    free_chunks_.pop_back();
    chunks_[index] = {.read = unsent_.front(),
                      .offset = read.next_offset,
                      .bytes = static_cast<uint32_t>(std::min<uint64_t>(options_.read_bytes, bytes_left))};
    read.next_offset += chunks_[index].bytes;
    ++read.chunks_in_flight;
    if (chunks_[index].bytes == bytes_left) unsent_.pop_front();
    submit(index);
  }
}

void ResidencyCache::submit(uint32_t chunk) {
  Chunk& c = chunks_[chunk];
  const Read& read = reads_[c.read];
  const Extent& extent = extents_[spillway::index_of(read.id)];
  ++c.tries;
  ring_->submit({space_.file(extent.file).file, extent.pages.offset + c.offset, read.staging + c.offset, c.bytes, chunk,
                 read.memory});
}

void ResidencyCache::complete(const ReadOutcome& outcome) {
  const auto index = static_cast<uint32_t>(outcome.tag);
  const Chunk chunk = chunks_[index];
  Read& read = reads_[chunk.read];
  const bool whole = outcome.result == static_cast<int64_t>(chunk.bytes);
  if (!whole && !read.failure && chunk.tries < kReadTries) return submit(index);
  free_chunks_.push_back(index);
  --read.chunks_in_flight;
  if (!whole && !read.failure) {
    // Nothing more of it is worth reading; what is in flight must still land before the slot can be used again.
    const uint64_t bytes = extents_[spillway::index_of(read.id)].pages.bytes;
    if (read.next_offset < bytes) std::erase(unsent_, chunk.read);
    read.next_offset = bytes;
    const Extent& extent = extents_[spillway::index_of(read.id)];
    read.failure = read_failure(*space_.file(extent.file).file, extent.pages.offset + chunk.offset, outcome.result);
  }
  if (read.chunks_in_flight > 0 || read.next_offset < extents_[spillway::index_of(read.id)].pages.bytes) return;
  if (read.failure)
    fail(read, *std::move(read.failure));
  else
    finish(read);
  read.slot = SlotId::kNone;
}

void ResidencyCache::finish(Read& read) {
  const Extent& extent = extents_[spillway::index_of(read.id)];
  if (options_.corrupt_extent == static_cast<int64_t>(spillway::index_of(read.id)))
    read.staging[extent.pages.bytes / 2] ^= std::byte{0x10};
  auto published = space_.publish(extent, read.staging);
  if (!published) return fail(read, published.error());
  {
    MutexLock lock(mu_);
    entries_[spillway::index_of(read.id)].state = State::kResident;
    stats_.bytes_read += extent.pages.bytes;
    ++stats_.reads;
  }
  arrived_.notify_all();
}

void ResidencyCache::fail(Read& read, Status status) {
  MutexLock lock(mu_);
  fail_locked(read, std::move(status));
}

void ResidencyCache::fail_locked(const Read& read, Status status) {
  Entry& entry = entries_[spillway::index_of(read.id)];
  entry.state = State::kAbsent;
  entry.slot = SlotId::kNone;
  entry.awaited = false;
  ++entry.failures;
  if (read.slot != SlotId::kNone) pool_.give_back(read.slot);
  last_failure_ = std::move(status);
  arrived_.notify_all();
}

}  // namespace spillway
