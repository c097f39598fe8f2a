// SPDX-License-Identifier: MIT
#include "store/residency_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/saturating_sub.h"
#include "store/tuning.h"

namespace spillway {
namespace {

std::vector<uint32_t> classes_of(const std::vector<Extent>& extents) {
  std::vector<uint32_t> classes;
  for (const Extent& extent : extents) classes.push_back(extent.slot_class);
  return classes;
}

uint32_t turns_of(const std::vector<Extent>& extents) {
  uint32_t n = 1;
  for (const Extent& extent : extents) n = std::max(n, extent.turn + 1);
  return n;
}

// Experts by class and turn; the others by class.
std::vector<uint32_t> idle_groups(const std::vector<Extent>& extents) {
  const uint32_t n_turns = turns_of(extents);
  std::vector<uint32_t> groups;
  for (const Extent& extent : extents)
    groups.push_back(extent.slot_class * n_turns + (extent.pool == Pool::kExperts ? extent.turn : 0));
  return groups;
}

}  // namespace

ResidencyCache::ResidencyCache(std::vector<Extent> extents, const std::vector<SlotClass>& classes, double pool_passes)
    : extents_(std::move(extents)),
      policy_(pool_passes),
      number_(extents_.size()),
      first_slice_(extents_.size()),
      n_slices_(extents_.size()),
      n_turns_(turns_of(extents_)),
      entries_(extents_.size()),
      classes_(classes.size()),
      queue_(classes_of(extents_), classes.size()),
      idle_order_(idle_groups(extents_), classes.size() * n_turns_),
      awaited_order_(classes_of(extents_), classes.size()),
      valued_in_pass_(classes.size() * n_turns_) {
  for (size_t c = 0; c < classes.size(); ++c) {
    classes_[c].pool = classes[c].pool;
    classes_[c].slot_bytes = classes[c].slot_bytes;
  }
  for (uint32_t e = 0; e < extents_.size(); ++e) {
    const Extent& extent = extents_[e];
    CHECK(classes_[extent.slot_class].pool == extent.pool);
    number_[e] = classes_[extent.slot_class].n_extents++;
    if (extent.pool != Pool::kWhole) continue;
    const auto slice = std::find_if(extents_.begin(), extents_.end(), [&](const Extent& other) {
      return other.pool == Pool::kExperts && other.tensor == extent.tensor;
    });
    first_slice_[e] = static_cast<uint32_t>(slice - extents_.begin());
    while (first_slice_[e] + n_slices_[e] < extents_.size() &&
           extents_[first_slice_[e] + n_slices_[e]].tensor == extent.tensor &&
           extents_[first_slice_[e] + n_slices_[e]].pool == Pool::kExperts)
      ++n_slices_[e];
  }
}

// --- requests ------------------------------------------------------------------------------------------------------

void ResidencyCache::request(std::span<const ExtentId> ids, Priority priority, bool scan) {
  for (const ExtentId id : ids) {
    Entry& asked = entry(id);
    if (priority != Priority::kSpeculative && extent(id).pool != Pool::kRing) asked_for_.push_back(id);
    if (priority != Priority::kDemand) {
      enqueue(id, priority);
      continue;
    }
    if (!asked.counted) count_use(id, scan);
    asked.counted = true;
    set_awaited(id, true);
    if (asked.state == State::kReading) read_as(asked, Priority::kDemand, extent(id));
    if (asked.state != State::kResident) enqueue(id, priority);
  }
}

void ResidencyCache::enqueue(ExtentId id, Priority priority) {
  if (entry(id).state == State::kReading || entry(id).state == State::kMoving) return;
  if (queue_.push_back(id, priority)) reorder(id);
}

void ResidencyCache::count_use(ExtentId id, bool scan) {
  Entry& used = entry(id);
  const bool hit = used.state == State::kResident || used.state == State::kMoving;
  const uint64_t bytes = extent(id).range.bytes;
  used.guessed = false;
  (hit ? stats_.hits : stats_.misses) += 1;
  (hit ? stats_.bytes_hit : stats_.bytes_missed) += bytes;
  if (extent(id).pool == Pool::kExperts) {
    (hit ? stats_.expert_hits : stats_.expert_misses) += 1;
    policy_.touch(used.usage, pass_, scan);
    turn_ = extent(id).turn;
  } else {
    used.last_use = ++ring_accesses_;
  }
  reorder(id);
}

void ResidencyCache::cancel(std::span<const ExtentId> ids) {
  for (const ExtentId id : ids) {
    const Entry& guess = entry(id);
    if (guess.holds > 0 || guess.counted) continue;
    set_awaited(id, false);
    if (queue_.priority_of(id) == Priority::kLikely) queue_.remove(id);
  }
}

void ResidencyCache::drop_interest() {
  for (const ExtentId id : asked_for_) {
    set_awaited(id, false);
    entry(id).counted = false;
    if (entry(id).holds == 0 && queue_.priority_of(id) != Priority::kSpeculative) queue_.remove(id);
  }
  asked_for_.clear();
}

// --- holds ---------------------------------------------------------------------------------------------------------

bool ResidencyCache::can_hold(std::span<const ExtentId> ids) const {
  // Few classes are met, as a rule one.
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint32_t slot_class = extent(ids[i]).slot_class;
    if (i > 0 && extent(ids[i - 1]).slot_class == slot_class) continue;
    const auto n_new = static_cast<uint64_t>(std::count_if(ids.begin(), ids.end(), [&](ExtentId id) {
      return extent(id).slot_class == slot_class && entry(id).holds == 0;
    }));
    if (n_new > 0 && classes_[slot_class].n_held + n_new > classes_[slot_class].target) return false;
  }
  return true;
}

uint32_t ResidencyCache::n_free_of_holds(uint32_t slot_class) const {
  const Class& held = classes_[slot_class];
  return saturating_sub(held.target, held.n_held);
}

void ResidencyCache::hold(std::span<const ExtentId> ids, bool scan, Hold& hold) {
  CHECK(can_hold(ids));
  hold.ids.assign(ids.begin(), ids.end());
  hold.failures_before.clear();
  for (const ExtentId id : ids) {
    Entry& wanted = entry(id);
    if (!wanted.counted) count_use(id, scan);
    wanted.counted = false;
    hold.failures_before.push_back(wanted.failures);
    if (wanted.holds++ == 0) ++class_of(id).n_held;
    if (wanted.state == State::kReading) {
      wanted.again = true;  // what was wrong earlier may be mended
      read_as(wanted, Priority::kDemand, extent(id));
    }
    wanted.awaited = false;
    reorder(id);
  }
  // Before what was only asked for: behind requests that wait for slots, which only we can free, its turn would never
  // come.
  for (size_t i = ids.size(); i-- > 0;) {
    const State state = entry(ids[i]).state;
    if (state == State::kAbsent) queue_.push_front(ids[i], Priority::kDemand);
  }
}

ResidencyCache::HoldState ResidencyCache::state_of(const Hold& hold) const {
  HoldState state = HoldState::kReady;
  for (size_t i = 0; i < hold.ids.size(); ++i) {
    const Entry& held = entry(hold.ids[i]);
    if (held.state == State::kResident) continue;
    if (held.failures != hold.failures_before[i]) return HoldState::kFailed;
    state = HoldState::kWaiting;
  }
  return state;
}

void ResidencyCache::let_go(std::span<const ExtentId> ids) {
  for (const ExtentId id : ids) {
    Entry& held = entry(id);
    CHECK(held.holds > 0);
    if (--held.holds > 0) continue;
    Class& slot_class = class_of(id);
    --slot_class.n_held;
    set_limit(slot_class, std::max(slot_class.target, std::min(slot_class.n_held, slot_class.limit)));
    if (held.state == State::kAbsent) queue_.remove(id);
    reorder(id);
    // Used up, and wanted again one cycle from now: behind all others. So the queue learns the order of use by itself,
    // and reading ahead goes on over the end of a pass.
    if (extent(id).pool == Pool::kRing) enqueue(id, Priority::kCertain);
  }
}

bool ResidencyCache::is_complete(uint32_t slot_class) const {
  const Class& all = classes_[slot_class];
  return all.n_at_home == all.n_extents && all.target == all.n_extents;
}

bool ResidencyCache::hold_all(uint32_t slot_class) {
  if (!is_complete(slot_class)) return false;
  ++classes_[slot_class].holds_of_all;
  return true;
}

void ResidencyCache::let_go_all(uint32_t slot_class) {
  CHECK(classes_[slot_class].holds_of_all > 0);
  --classes_[slot_class].holds_of_all;
}

// --- slots ---------------------------------------------------------------------------------------------------------

void ResidencyCache::set_n_slots(std::span<const uint32_t> n_slots) {
  CHECK(n_slots.size() == classes_.size());
  for (size_t c = 0; c < classes_.size(); ++c) {
    Class& slot_class = classes_[c];
    slot_class.target = std::min(n_slots[c], slot_class.n_extents);
    // A waiting caller was promised as many as there were when it began.
    set_limit(slot_class, std::max(slot_class.target, std::min(slot_class.n_held, slot_class.limit)));
  }
}

void ResidencyCache::set_limit(Class& slot_class, uint32_t limit) {
  const uint32_t before = std::exchange(slot_class.limit, limit);
  for (uint32_t slot = limit; slot < std::min(before, slot_class.granted); ++slot)
    if (slot_class.free.erase(slot) == 0) slot_class.beyond.insert(slot);
  for (uint32_t slot = before; slot < std::min(limit, slot_class.granted); ++slot)
    if (slot_class.beyond.erase(slot) == 0) slot_class.free.insert(slot);
}

uint32_t ResidencyCache::n_wanted(uint32_t slot_class) const { return classes_[slot_class].limit; }

uint32_t ResidencyCache::n_occupied(uint32_t slot_class) const {
  const std::vector<ExtentId>& owner = classes_[slot_class].owner;
  const auto last = std::find_if(owner.rbegin(), owner.rend(), [](ExtentId id) { return id != kNobody; });
  return static_cast<uint32_t>(owner.rend() - last);
}

void ResidencyCache::grant(uint32_t slot_class, uint32_t n) {
  Class& granted = classes_[slot_class];
  CHECK(n >= n_occupied(slot_class));
  for (uint32_t slot = n; slot < granted.granted; ++slot) granted.free.erase(slot);
  for (uint32_t slot = granted.granted; slot < std::min(n, granted.limit); ++slot) granted.free.insert(slot);
  granted.owner.resize(n, kNobody);
  granted.granted = n;
}

void ResidencyCache::take_slot(ExtentId id, uint32_t slot) {
  Class& slot_class = class_of(id);
  CHECK(slot_class.free.erase(slot) == 1);
  slot_class.owner[slot] = id;
  entry(id).slot = slot;
}

void ResidencyCache::free_slot(Class& slot_class, uint32_t slot) {
  slot_class.owner[slot] = kNobody;
  if (slot < slot_class.limit)
    slot_class.free.insert(slot);
  else
    slot_class.beyond.erase(slot);
}

// A slot to read `id` into: its own number's where all have one, else the first, so that the end stays empty.
std::optional<uint32_t> ResidencyCache::find_slot(ExtentId id, bool may_evict, bool even_awaited) {
  Class& slot_class = class_of(id);
  while (slot_class.free.empty()) {
    const auto victim = may_evict ? find_victim(extent(id).slot_class, even_awaited) : std::nullopt;
    if (!victim) return std::nullopt;
    evict(*victim);
  }
  const uint32_t own = number_[index_of(id)];
  const bool all_have_one = slot_class.target == slot_class.n_extents;
  return all_have_one && slot_class.free.contains(own) ? own : *slot_class.free.begin();
}

// Who can best be spared of a class; else, `even_awaited`, the latest of what was read ahead.
std::optional<ExtentId> ResidencyCache::find_victim(uint32_t slot_class, bool even_awaited) {
  if (classes_[slot_class].holds_of_all > 0) return std::nullopt;
  const bool by_turn = classes_[slot_class].pool == Pool::kExperts;
  std::optional<VictimOrder::Candidate> best;
  for (uint32_t turn = 0; turn < (by_turn ? n_turns_ : 1); ++turn) {
    const uint32_t group = slot_class * n_turns_ + turn;
    if (by_turn && std::exchange(valued_in_pass_[group], pass_) != pass_)
      idle_order_.put_all(group, [this](ExtentId id) { return spare_of(id); });
    auto candidate = idle_order_.first(group);
    if (!candidate) continue;
    const uint32_t turns = (turn + n_turns_ - turn_) % n_turns_;
    if (by_turn) candidate->spare = policy_.spare_passes(candidate->spare, turns == 0 ? n_turns_ : turns, n_turns_);
    if (!best || candidate->spare > best->spare) best = candidate;
  }
  if (best) return best->id;
  const auto awaited = even_awaited ? awaited_order_.first(slot_class) : std::nullopt;
  return awaited ? std::optional(awaited->id) : std::nullopt;
}

void ResidencyCache::evict(ExtentId id) {
  Entry& victim = entry(id);
  const uint32_t slot = std::exchange(victim.slot, kNoSlot);
  set_state(id, State::kAbsent);
  if (number_[index_of(id)] == slot) --class_of(id).n_at_home;
  free_slot(class_of(id), slot);
  if (victim.guessed) stats_.bytes_wasted += extent(id).range.bytes;
  // Read ahead and lost to a caller: it stays in the cycle. Were it dropped, the queue would run empty and an extent
  // just used would be kept for the next pass at once, leaving no memory to read ahead into (11 misses of 20 in every
  // pass).
  if (victim.awaited && extent(id).pool != Pool::kExperts) queue_.push_front(id, Priority::kCertain);
  set_awaited(id, false);
}

// --- what to do next -----------------------------------------------------------------------------------------------

std::optional<ResidencyCache::Step> ResidencyCache::next() {
  // Memory that others need goes first: while it is taken, they wait or are killed.
  if (auto move = next_move()) return move;
  return next_read();
}

// Empties the slots that shall go, from the last on: into free ones, or into those of extents that can better be
// spared.
std::optional<ResidencyCache::Step> ResidencyCache::next_move() {
  for (uint32_t c = 0; c < classes_.size(); ++c) {
    Class& slot_class = classes_[c];
    if (slot_class.holds_of_all > 0) continue;
    for (auto slot = slot_class.beyond.rbegin(); slot != slot_class.beyond.rend();) {
      const ExtentId id = slot_class.owner[*slot];
      Entry& moved = entry(id);
      if (moved.state != State::kResident || moved.holds > 0 || moved.copies > 0) {
        ++slot;
        continue;
      }
      if (slot_class.free.empty()) {
        const auto victim = find_victim(c, true);
        if (!victim) break;
        evict(*victim);
        slot = slot_class.beyond.rbegin();  // it may have been one of these
        continue;
      }
      Step step{.work = Work::kMove, .id = id, .slot = *slot_class.free.begin(), .from_slot = moved.slot};
      moved.from_slot = moved.slot;
      if (number_[index_of(id)] == moved.slot) --slot_class.n_at_home;
      take_slot(id, step.slot);
      set_state(id, State::kMoving);
      return step;
    }
  }
  return std::nullopt;
}

bool ResidencyCache::may_start(Priority priority) const {
  const auto n_reading = [this](Priority p) { return n_reading_[static_cast<size_t>(p)]; };
  const uint32_t n_wanted = n_reading(Priority::kDemand) + n_reading(Priority::kCertain);
  if (priority == Priority::kLikely) return n_wanted == 0 && likely_bytes_reading_ < kLikelyBytesInFlight;
  if (priority == Priority::kSpeculative) return n_wanted + n_reading(Priority::kLikely) == 0;
  return true;
}

// Higher priorities first; the first of a class that finds no slot holds up its class and no other.
std::optional<ResidencyCache::Step> ResidencyCache::next_read() {
  for (const Priority priority : {Priority::kDemand, Priority::kCertain, Priority::kLikely, Priority::kSpeculative}) {
    if (!may_start(priority)) return std::nullopt;
    int64_t after = ReadQueue::kFromTheFirst;
    while (const auto place = queue_.first(priority, after)) {
      const ExtentId id = place->id;
      const bool resident = entry(id).state != State::kAbsent;  // nobody took its slot meanwhile: kept, not read
      std::optional<uint32_t> slot;
      // A guess for later fills free memory and no more. When somebody waits for `id` and all that could go was read
      // ahead, that goes: it will be read again, but nobody waits for ever.
      if (!resident) slot = find_slot(id, priority != Priority::kSpeculative, entry(id).holds > 0);
      if (!resident && !slot) {
        after = place->ticket;
        continue;
      }
      queue_.pop(id);
      if (priority != Priority::kSpeculative && entry(id).holds == 0) set_awaited(id, true);
      if (!resident) return begin_read(id, *slot, priority);
    }
  }
  return std::nullopt;
}

ResidencyCache::Step ResidencyCache::begin_read(ExtentId id, uint32_t slot, Priority priority) {
  Entry& read = entry(id);
  take_slot(id, slot);
  set_state(id, State::kReading);
  read.guessed = priority == Priority::kLikely;
  read_as(read, priority, extent(id));
  Step step{.work = Work::kRead,
            .id = id,
            .slot = slot,
            .urgent = priority == Priority::kDemand,
            .n_slices = std::max(1u, n_slices_[index_of(id)])};
  for (uint32_t s = 0; s < n_slices_[index_of(id)]; ++s) {
    const ExtentId slice{first_slice_[index_of(id)] + s};
    if (entry(slice).state != State::kResident) continue;
    ++entry(slice).copies;
    reorder(slice);
    step.copied.push_back(slice);
    step.copied_slots.push_back(entry(slice).slot);
  }
  read.copied = step.copied;
  return step;
}

// Counts a read among those of a priority; nullopt: it is over.
void ResidencyCache::read_as(Entry& read, std::optional<Priority> priority, const Extent& extent) {
  const auto count = [&](std::optional<Priority> p, bool more) {
    if (!p) return;
    n_reading_[static_cast<size_t>(*p)] += more ? 1u : ~0u;
    if (*p == Priority::kLikely) likely_bytes_reading_ += more ? extent.range.bytes : 0 - extent.range.bytes;
  };
  count(read.reading_as, false);
  read.reading_as = priority;
  count(priority, true);
}

void ResidencyCache::end_copies(Entry& whole) {
  for (const ExtentId slice : whole.copied) {
    --entry(slice).copies;
    reorder(slice);
  }
  whole.copied.clear();
}

void ResidencyCache::arrived(ExtentId id) {
  Entry& here = entry(id);
  const bool moved = here.state == State::kMoving;
  CHECK(moved || here.state == State::kReading);
  if (moved) {
    free_slot(class_of(id), std::exchange(here.from_slot, kNoSlot));
    stats_.bytes_moved += extent(id).range.bytes;
  } else {
    uint64_t copied_bytes = 0;
    for (const ExtentId slice : here.copied) copied_bytes += extent(slice).range.bytes;
    stats_.bytes_copied += copied_bytes;
    stats_.bytes_read += extent(id).range.bytes - copied_bytes;
    ++stats_.reads;
    end_copies(here);
    read_as(here, std::nullopt, extent(id));
  }
  here.again = false;
  if (number_[index_of(id)] == here.slot) ++class_of(id).n_at_home;
  set_state(id, State::kResident);
}

void ResidencyCache::failed(ExtentId id) {
  Entry& read = entry(id);
  CHECK(read.state == State::kReading);
  end_copies(read);
  read_as(read, std::nullopt, extent(id));
  set_state(id, State::kAbsent);
  free_slot(class_of(id), std::exchange(read.slot, kNoSlot));
  set_awaited(id, false);
  if (std::exchange(read.again, false) && read.holds > 0) return queue_.push_front(id, Priority::kDemand);
  ++read.failures;
}

void ResidencyCache::fail_waiting() {
  for (Entry& waited_for : entries_)
    if (waited_for.holds > 0 && waited_for.state == State::kAbsent) ++waited_for.failures;
}

// --- bookkeeping ---------------------------------------------------------------------------------------------------

void ResidencyCache::set_state(ExtentId id, State state) {
  const auto is_here = [](State s) { return s == State::kResident || s == State::kMoving; };
  if (is_here(entry(id).state)) resident_bytes_ -= extent(id).range.bytes;
  if (is_here(state)) resident_bytes_ += extent(id).range.bytes;
  entry(id).state = state;
  reorder(id);
}

void ResidencyCache::set_awaited(ExtentId id, bool awaited) {
  if (entry(id).awaited == awaited) return;
  entry(id).awaited = awaited;
  reorder(id);
}

double ResidencyCache::spare_of(ExtentId id) const {
  const Entry& spared = entry(id);
  if (extent(id).pool == Pool::kExperts) return policy_.spare_passes(spared.usage, pass_);
  // In a cyclic order what was used last is needed again last (Belady).
  return static_cast<double>(spared.last_use);
}

// To be called whenever something has changed that decides who may be evicted, and before whom.
void ResidencyCache::reorder(ExtentId id) {
  const Entry& changed = entry(id);
  const bool may_go = changed.state == State::kResident && changed.holds == 0 && changed.copies == 0;
  if (may_go && changed.awaited)
    awaited_order_.put(id, static_cast<double>(queue_.ticket_of(id)));
  else
    awaited_order_.remove(id);
  if (may_go && !changed.awaited)
    idle_order_.put(id, spare_of(id));
  else
    idle_order_.remove(id);
}

std::vector<bool> ResidencyCache::resident() const {
  std::vector<bool> resident;
  resident.reserve(entries_.size());
  for (const Entry& each : entries_) resident.push_back(each.state == State::kResident || each.state == State::kMoving);
  return resident;
}

std::vector<double> ResidencyCache::heat() const {
  std::vector<double> heat;
  heat.reserve(entries_.size());
  for (const Entry& each : entries_) heat.push_back(policy_.chance(each.usage, pass_));
  return heat;
}

void ResidencyCache::set_heat(std::span<const double> heat) {
  for (uint32_t i = 0; i < std::min(heat.size(), entries_.size()); ++i) {
    entries_[i].usage = policy_.usage_of(heat[i]);
    entries_[i].usage.last_pass = pass_;
    reorder(ExtentId{i});
  }
}

}  // namespace spillway
