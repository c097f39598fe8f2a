// SPDX-License-Identifier: MIT
// Keeps extents of the weight space resident within slots of memory whose number may change, and reads ahead.
//
// Threads: thread-safe. Who computes calls request/acquire/release (one compute thread is expected); a reader thread of
// our own does all reading, publishing and evicting. No lock is held across a read or a move of pages. Lifetime: the
// ring, the files and their mapping outlive it. When it is destroyed the reader stops; resident extents stay resident
// until the mapping goes.
//
// States of an extent, changed under mu_, the moves between by the reader alone:
//     absent --(slot found)--> reading --(all chunks in, published)--> resident --(chosen as victim)--> absent
// pins > 0 or awaited: never a victim. A pin may stand on an extent that is still absent or reading: somebody waits for
// it. An extent that is awaited stands in a queue, is being read, or is resident.
//
// A slot is made on first use and, when its class is to have fewer, removed by the reader: taken free or from the
// extent least worth keeping, unregistered from the ring, unmapped. What callers have pinned counts as a class's least
// number of slots until they release it, so nobody who waits loses the slots that he was promised.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "os/read_ring.h"
#include "store/eviction_policy.h"
#include "store/extent_reads.h"
#include "store/page_pool.h"
#include "store/read_queue.h"
#include "store/slot_memory.h"
#include "store/victim_order.h"
#include "store/weight_space.h"

namespace spillway {

struct CacheOptions {
  uint32_t read_bytes = 0;             // size of one read, multiple of 4096; 0: tuning.h's default
  std::vector<uint32_t> n_slots = {};  // [n_class] of choose_slot_classes(extents), at first
  std::string_view expert_policy = "lfu";

  // For tests of the tests: one bit of this extent is flipped before it is published.
  int64_t corrupt_extent = -1;
};

// Since the cache was opened, or since reset_stats() was last called.
struct CacheStats {
  uint64_t bytes_read = 0;
  uint64_t reads = 0;             // extents read whole
  uint64_t hits = 0, misses = 0;  // extents used: resident when first asked for, or not; read ahead counts as hit
  uint64_t bytes_hit = 0, bytes_missed = 0;
  uint64_t expert_hits = 0, expert_misses = 0;  // of them, those of Pool::kExperts
  uint64_t bytes_wasted = 0;                    // read as kLikely and evicted unused
  double wait_s = 0;                            // acquire() blocked
  double reader_busy_s = 0;                     // at least one read was in flight
  double reader_cpu_s = 0;                      // of the reader thread, publishing and evicting included, setup not
  double setup_cpu_s = 0;       // of the reader thread, taking each slot's memory from the system: once per slot
  double caller_cpu_s = 0;      // of callers inside this class
  uint64_t resident_bytes = 0;  // now
  uint64_t slot_bytes = 0;      // now: memory taken from the system
};

class ResidencyCache {
 public:
  //   OutOfBudget   the system lacks memory    InvalidArgument   n_slots does not fit the extents
  static Result<std::unique_ptr<ResidencyCache>> open(WeightSpace& space, std::vector<Extent> extents,
                                                      std::unique_ptr<ReadRing> ring, CacheOptions options);
  ~ResidencyCache();

  const Extent& extent(ExtentId id) const { return extents_[index_of(id)]; }
  uint32_t n_extents() const { return static_cast<uint32_t>(extents_.size()); }

  // Asks for extents ahead of use; returns at once. They are read in this order within their priority. kDemand protects
  // those already resident, too, until they are released or the interest is dropped, and counts as their use (`scan` as
  // in acquire()).
  void request(std::span<const ExtentId> ids, Priority priority, bool scan = false) EXCLUDES(mu_);

  // Makes `ids` (no duplicates) resident and holds them there until released. Blocks while they are read, and while
  // other callers hold the slots they need: a caller that holds them itself waits for ever. `scan`: this pass touches
  // nearly everything, so it says nothing about what is worth keeping.
  //   OutOfBudget   more extents of one length than there are slots; nothing is held
  //   Io  Changed   a read that began after the call failed twice; nothing is held
  Result<void> acquire(std::span<const ExtentId> ids, bool scan) EXCLUDES(mu_);
  void release(std::span<const ExtentId> ids) EXCLUDES(mu_);

  // How many of `ids`, from the first on, acquire() can hold at once.
  size_t holdable(std::span<const ExtentId> ids) const EXCLUDES(mu_);

  // Changes how many slots each class has (never more than its extents need); returns at once. Fewer: extents that are
  // least worth keeping leave, their memory goes back to the system, pinned ones follow when they are released. More:
  // made as they are needed. Any thread.
  //   InvalidArgument   not one number for each class, or a class without slots
  Result<void> set_n_slots(std::span<const uint32_t> n_slots) EXCLUDES(mu_);
  uint32_t n_slots(uint32_t slot_class) const EXCLUDES(mu_);

  // Blocks until no class has more slots than it shall have, at most `timeout`; whether it is so.
  bool wait_until_shrunk(std::chrono::milliseconds timeout) EXCLUDES(mu_);

  // Blocks until all that was requested and finds memory is resident, at most `timeout`; whether it is.
  bool wait_until_read(std::chrono::milliseconds timeout) EXCLUDES(mu_);

  // Until allow_eviction() nothing leaves memory: for somebody who reads extents without having acquired them. Returns
  // when an eviction under way is finished. A thread that forbade eviction must not acquire() before it allows it
  // again.
  void forbid_eviction() EXCLUDES(mu_);
  void allow_eviction() EXCLUDES(mu_);

  // A guess was wrong: nobody will come for these. Those already acquired or asked for by kDemand since are left alone.
  void cancel(std::span<const ExtentId> ids) EXCLUDES(mu_);

  // Nobody will come for what was requested and not acquired (a pass ended early).
  void drop_interest() EXCLUDES(mu_);

  bool is_resident(ExtentId id) const EXCLUDES(mu_);
  bool all_resident(std::span<const ExtentId> ids) const EXCLUDES(mu_);
  std::vector<bool> resident() const EXCLUDES(mu_);  // [n_extents]

  CacheStats stats() const EXCLUDES(mu_);
  uint64_t slot_bytes() const EXCLUDES(mu_);  // as in the statistics, and cheaper
  void reset_stats() EXCLUDES(mu_);

  // Decayed access counts, for the heat profile. [n_extents]
  std::vector<double> heat() const EXCLUDES(mu_);
  void set_heat(std::span<const double> heat) EXCLUDES(mu_);

 private:
  enum class State : uint8_t { kAbsent, kReading, kResident };
  struct Entry {
    State state = State::kAbsent;
    bool awaited = false;  // read ahead, or asked for, and not acquired since
    bool counted = false;  // its next use is counted already: it was asked for by kDemand
    bool guessed = false;  // read as kLikely, and not used since
    bool again = false;    // somebody came while it was being read: should that read fail, there is one more
    uint32_t pins = 0;
    uint32_t waiters = 0;  // of the pins, those blocked in acquire()
    SlotId slot = SlotId::kNone;
    Usage usage;
    uint32_t failures = 0;  // grows with every failed read
  };
  struct Start {  // what the reader shall do next, decided under the lock
    ExtentId id{};
    SlotId slot = SlotId::kNone;
    std::byte* staging = nullptr;
    std::optional<ExtentId> victim = {};  // whose pages have to leave it first
  };
  struct Removal {  // a slot that shall go, decided under the lock
    SlotId slot = SlotId::kNone;
    std::byte* staging = nullptr;
    std::optional<ExtentId> victim = {};  // whose pages have to leave it first
  };

  ResidencyCache(WeightSpace& space, std::vector<Extent> extents, std::unique_ptr<ReadRing> ring, CacheOptions options,
                 SlotClasses classes, std::unique_ptr<EvictionPolicy> ring_policy,
                 std::unique_ptr<EvictionPolicy> expert_policy);

  // Who computes.
  Entry& entry(ExtentId id) REQUIRES(mu_) { return entries_[index_of(id)]; }
  const Entry& entry(ExtentId id) const REQUIRES(mu_) { return entries_[index_of(id)]; }
  uint32_t class_of(ExtentId id) const { return classes_.class_of[index_of(id)]; }
  void enqueue(ExtentId id, Priority priority) REQUIRES(mu_);
  void enqueue_first(ExtentId id, Priority priority) REQUIRES(mu_);
  void count_use(ExtentId id, bool scan) REQUIRES(mu_);
  size_t holdable_locked(std::span<const ExtentId> ids) const REQUIRES(mu_);
  void pin(ExtentId id) REQUIRES(mu_);
  void unpin(ExtentId id) REQUIRES(mu_);
  bool is_shrunk() const REQUIRES(mu_);

  void set_state(ExtentId id, State state) REQUIRES(mu_);
  void set_awaited(ExtentId id, bool awaited) REQUIRES(mu_);
  void reorder(ExtentId id) REQUIRES(mu_);

  // The reader thread: residency_reader.cpp.
  enum class Step : uint8_t { kLookAgain, kWaitForReads, kStop };
  void read_loop();
  Step begin_next() EXCLUDES(mu_);
  bool find_start(Start& start) REQUIRES(mu_);
  bool find_slot(ExtentId id, Start& start) REQUIRES(mu_);
  std::optional<ExtentId> find_victim(uint32_t slot_class, bool even_awaited) const REQUIRES(mu_);
  SlotId take_from(ExtentId victim) REQUIRES(mu_);
  Result<void> withdraw(ExtentId victim, SlotId slot, std::byte* staging) EXCLUDES(mu_);
  bool find_removal(Removal& removal) REQUIRES(mu_);
  void remove(const Removal& removal) EXCLUDES(mu_);
  void begin(const Start& start) EXCLUDES(mu_);
  void finish(const ExtentReads::Read& read) EXCLUDES(mu_);
  void fail(const ExtentReads::Read& read, const Status& status) EXCLUDES(mu_);
  void account_cpu() REQUIRES(mu_);
  void account_busy() REQUIRES(mu_);

  // Constant after construction.
  WeightSpace& space_;
  const std::vector<Extent> extents_;
  const CacheOptions options_;
  const SlotClasses classes_;
  std::vector<uint32_t> n_members_;  // [n_class] extents
  const std::unique_ptr<EvictionPolicy> ring_policy_, expert_policy_;
  std::array<double, 2> half_life_accesses_{};  // [Pool]

  // The reader thread's alone.
  const std::unique_ptr<ReadRing> ring_;
  ExtentReads reads_;
  SlotMemory slot_memory_;
  double cpu_counted_s_ = 0;  // of this thread, in stats_ already
  double busy_since_s_ = 0;   // not in stats_ yet; 0: not busy

  mutable Mutex mu_;
  CondVar work_;     // for the reader: something was queued or can be evicted now
  CondVar arrived_;  // for acquire(): an extent became resident or failed; for wait_until_shrunk(): a slot went
  std::vector<Entry> entries_ GUARDED_BY(mu_);
  PagePool pool_ GUARDED_BY(mu_);  // a class's n_slots there: n_slots_ or, after a shrink, what is still pinned
  std::vector<uint32_t> n_slots_ GUARDED_BY(mu_);   // [n_class] asked for
  std::vector<uint32_t> n_pinned_ GUARDED_BY(mu_);  // [n_class] extents with pins
  bool removing_ GUARDED_BY(mu_) = false;           // the reader is between choosing a slot and having unmapped it
  bool removal_failed_ GUARDED_BY(mu_) = false;     // the system refused; not tried again before the next set_n_slots()
  ReadQueue queue_ GUARDED_BY(mu_);
  // Resident extents without pins: those nobody waits for, and those read ahead, the latest first. Kept by reorder().
  VictimOrder idle_order_ GUARDED_BY(mu_), awaited_order_ GUARDED_BY(mu_);
  std::array<uint64_t, 2> accesses_ GUARDED_BY(mu_){};  // [Pool]
  uint64_t resident_bytes_ GUARDED_BY(mu_) = 0;
  Status last_failure_ GUARDED_BY(mu_){Code::kIo, ""};
  CacheStats stats_ GUARDED_BY(mu_);
  bool eviction_forbidden_ GUARDED_BY(mu_) = false;
  bool evicting_ GUARDED_BY(mu_) = false;  // the reader is between choosing a victim and having withdrawn it
  bool idle_ GUARDED_BY(mu_) = false;      // the reader found nothing to do; cleared by whoever queues something
  bool stopping_ GUARDED_BY(mu_) = false;

  std::thread reader_;  // last: it uses everything above
};

}  // namespace spillway
