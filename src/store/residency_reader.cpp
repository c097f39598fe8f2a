// SPDX-License-Identifier: MIT
// What the reader thread of a ResidencyCache does: gives memory back, begins reads, takes what has arrived. All here
// runs on that thread. What happens next is decided under the lock, and done without it.
#include <utility>

#include "base/clock.h"
#include "os/machine.h"
#include "store/residency_cache.h"

namespace spillway {

void ResidencyCache::read_loop() {
  name_thread("spillway-reader");
  cpu_counted_s_ = thread_cpu_s();
  std::vector<ExtentReads::Read> done;
  for (;;) {
    // 1. Begin what can begin, until the ring's depth is spoken for: not more, so that demand never queues behind
    // read-ahead.
    Step step = Step::kLookAgain;
    while ((step = begin_next()) == Step::kLookAgain) reads_.submit();
    if (step == Step::kStop) return;
    // 2. Take what has arrived; refill the ring from reads already begun.
    reads_.submit();
    if (!reads_.in_flight()) continue;
    done.clear();
    reads_.wait(done);
    for (const ExtentReads::Read& read : done) read.failure ? fail(read, *read.failure) : finish(read);
    reads_.submit();
    MutexLock lock(mu_);
    account_busy();
    busy_since_s_ = monotonic_s();
  }
}

ResidencyCache::Step ResidencyCache::begin_next() {
  Start start;
  Removal removal;
  {
    MutexLock lock(mu_);
    account_cpu();
    // Memory that others need goes first: while it is taken, they wait or are killed.
    const bool can_remove = !stopping_ && find_removal(removal);
    const bool can_begin = !can_remove && !stopping_ && !reads_.has_unsent() && find_start(start);
    if (!can_remove && !can_begin) {
      if (reads_.in_flight() || reads_.has_unsent()) return Step::kWaitForReads;
      account_busy();
      busy_since_s_ = 0;
      if (stopping_) return Step::kStop;
      idle_ = true;
      arrived_.notify_all();
      work_.wait(mu_);
      return Step::kLookAgain;
    }
  }
  if (removal.slot != SlotId::kNone) {
    remove(removal);
    return Step::kLookAgain;
  }
  if (busy_since_s_ == 0) busy_since_s_ = monotonic_s();
  begin(start);
  return Step::kLookAgain;
}

void ResidencyCache::account_cpu() {
  const double now_s = thread_cpu_s(), setup_s = slot_memory_.take_setup_cpu_s();
  stats_.reader_cpu_s += now_s - cpu_counted_s_ - setup_s;
  stats_.setup_cpu_s += setup_s;
  cpu_counted_s_ = now_s;
}

void ResidencyCache::account_busy() {
  if (busy_since_s_ != 0) stats_.reader_busy_s += monotonic_s() - busy_since_s_;
}

// --- what to read, and where to ------------------------------------------------------------------------------------

// The next extent to read and the slot for it. Higher priorities first; the first of a class that finds no slot holds
// up its class and no other.
bool ResidencyCache::find_start(Start& start) {
  for (const Priority priority : {Priority::kDemand, Priority::kCertain, Priority::kLikely, Priority::kSpeculative}) {
    int64_t after = ReadQueue::kFromTheFirst;
    while (const auto place = queue_.first(priority, after)) {
      const ExtentId id = place->id;
      const bool resident = entry(id).state == State::kResident;  // nobody took its slot meanwhile: kept, not read
      if (!resident && !find_slot(id, start)) {
        after = place->ticket;
        continue;
      }
      queue_.pop(id);
      if (priority != Priority::kSpeculative && entry(id).pins == 0) set_awaited(id, true);
      if (resident) continue;
      set_state(id, State::kReading);
      entry(id).guessed = priority == Priority::kLikely;
      return true;
    }
  }
  return false;
}

bool ResidencyCache::find_slot(ExtentId id, Start& start) {
  start = {.id = id};
  auto taken = pool_.take(class_of(id));
  if (!taken) {  // no address space: as a failed read, for whoever waits
    last_failure_ = taken.error();
    ++entry(id).failures;
    arrived_.notify_all();
    return false;
  }
  start.slot = *taken;
  if (start.slot == SlotId::kNone) {
    if (queue_.priority_of(id) == Priority::kSpeculative) return false;  // a guess fills free memory and no more
    // When somebody is blocked on `id` and all that could go was read ahead for later, that goes: it will be read
    // again, but nobody waits for ever.
    start.victim = find_victim(class_of(id), entry(id).waiters > 0);
    if (!start.victim) return false;
    start.slot = take_from(*start.victim);
  }
  start.staging = pool_.staging(start.slot);
  entry(id).slot = start.slot;
  return true;
}

// The least worth keeping of a class; else, `even_awaited`, the latest of what was read ahead.
std::optional<ExtentId> ResidencyCache::find_victim(uint32_t slot_class, bool even_awaited) const {
  if (eviction_forbidden_) return std::nullopt;
  const auto idle = idle_order_.first(slot_class);
  return idle || !even_awaited ? idle : awaited_order_.first(slot_class);
}

// --- taking memory from an extent ----------------------------------------------------------------------------------

// The extent turns absent; its pages are where they were until withdraw() is called.
SlotId ResidencyCache::take_from(ExtentId id) {
  Entry& victim = entry(id);
  evicting_ = true;
  set_state(id, State::kAbsent);
  if (victim.guessed) stats_.bytes_wasted += extent(id).pages.bytes;
  // Read ahead and lost to a caller: it stays in the cycle. Were it dropped, the queue would run empty and an extent
  // just used would be kept for the next pass at once, leaving no memory to read ahead into (11 misses of 20 in every
  // pass).
  if (victim.awaited && extent(id).pool == Pool::kRing) enqueue_first(id, Priority::kCertain);
  set_awaited(id, false);
  return std::exchange(victim.slot, SlotId::kNone);
}

// An error: the system refused, and the extent is resident as before.
Result<void> ResidencyCache::withdraw(ExtentId victim, SlotId slot, std::byte* staging) {
  auto withdrawn = space_.withdraw(extent(victim), staging);
  MutexLock lock(mu_);
  evicting_ = false;
  if (!withdrawn) {
    set_state(victim, State::kResident);
    entry(victim).slot = slot;
  }
  if (eviction_forbidden_ || !withdrawn) arrived_.notify_all();
  return withdrawn;
}

// A slot of a class that has too many: a free one, or that of the extent least worth keeping.
bool ResidencyCache::find_removal(Removal& removal) {
  if (removal_failed_) return false;
  for (uint32_t c = 0; c < n_slots_.size(); ++c) {
    if (!pool_.has_surplus(c)) continue;
    removal.slot = pool_.take_surplus(c);
    if (removal.slot == SlotId::kNone) removal.victim = find_victim(c, true);
    if (removal.victim) removal.slot = take_from(*removal.victim);
    if (removal.slot == SlotId::kNone) continue;  // all pinned or being read
    removal.staging = pool_.staging(removal.slot);
    removing_ = true;
    return true;
  }
  return false;
}

void ResidencyCache::remove(const Removal& removal) {
  const bool withdrawn = !removal.victim || withdraw(*removal.victim, removal.slot, removal.staging);
  Region region;
  if (withdrawn) {
    slot_memory_.forget(removal.slot);
    MutexLock lock(mu_);
    region = pool_.remove(removal.slot);
  }
  region = {};  // unmapped before anybody hears of it, and without the lock
  {
    MutexLock lock(mu_);
    removing_ = false;
    removal_failed_ = !withdrawn;
  }
  arrived_.notify_all();
}

// --- reads, from begin to end --------------------------------------------------------------------------------------

void ResidencyCache::begin(const Start& start) {
  ExtentReads::Read read{.id = start.id, .slot = start.slot, .staging = start.staging, .failure = std::nullopt};
  if (start.victim) {
    const auto withdrawn = withdraw(*start.victim, start.slot, start.staging);
    if (!withdrawn) {
      read.slot = SlotId::kNone;  // the victim has it again
      return fail(read, withdrawn.error());
    }
  }
  read.memory = slot_memory_.number_of(start.slot, start.staging, classes_.slot_bytes[class_of(start.id)]);
  reads_.begin(std::move(read), extent(start.id));
}

void ResidencyCache::finish(const ExtentReads::Read& read) {
  const Extent& arrived = extent(read.id);
  if (options_.corrupt_extent == static_cast<int64_t>(index_of(read.id)))
    read.staging[arrived.pages.bytes / 2] ^= std::byte{0x10};
  const auto published = space_.publish(arrived, read.staging);
  if (!published) return fail(read, published.error());
  {
    MutexLock lock(mu_);
    set_state(read.id, State::kResident);
    entry(read.id).again = false;
    stats_.bytes_read += arrived.pages.bytes;
    ++stats_.reads;
  }
  arrived_.notify_all();
}

void ResidencyCache::fail(const ExtentReads::Read& read, const Status& status) {
  MutexLock lock(mu_);
  Entry& failed = entry(read.id);
  set_state(read.id, State::kAbsent);
  failed.slot = SlotId::kNone;
  set_awaited(read.id, false);
  if (read.slot != SlotId::kNone) pool_.give_back(read.slot);
  if (std::exchange(failed.again, false) && failed.waiters > 0) return enqueue_first(read.id, Priority::kDemand);
  ++failed.failures;
  last_failure_ = status;
  arrived_.notify_all();
}

}  // namespace spillway
