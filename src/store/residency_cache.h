// SPDX-License-Identifier: MIT
// Which extents are in which slots of memory, who holds them, and what is to be read next. Pure bookkeeping: no disk,
// no thread, no memory. store/weight_store.h drives it with all three, and everything here is called under its lock.
//
// States of an extent:
//     absent --next(): read--> reading --arrived()--> resident --chosen as victim, in next()--> absent
//                                 `--failed()--> absent     `--next(): move--> moving --arrived()--> resident
// Held or awaited: never a victim. A hold may stand on an extent that is still absent or reading: somebody waits for
// it. An extent that is awaited stands in the queue, is being read, or is resident.
//
// Slots of a class are numbered from 0. Fewer slots: those at the end go, and who lies there leaves or moves to one
// that stays. What callers hold counts as a class's least number of slots until they let it go, so nobody who waits
// loses the slots that he was promised. More: granted as memory is there for them.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "layout/extent.h"
#include "layout/slot_deal.h"
#include "store/eviction_policy.h"
#include "store/read_queue.h"
#include "store/victim_order.h"

namespace spillway {

// Counted since the cache was made or reset_stats() was called.
struct CacheStats {
  uint64_t bytes_read = 0;
  uint64_t reads = 0;             // extents read whole
  uint64_t hits = 0, misses = 0;  // extents used: resident when first asked for, or not; read ahead counts as hit
  uint64_t bytes_hit = 0, bytes_missed = 0;
  uint64_t expert_hits = 0, expert_misses = 0;  // of them, those of Pool::kExperts
  uint64_t bytes_wasted = 0;                    // read as kLikely and evicted unused
  uint64_t bytes_moved = 0, bytes_copied = 0;   // from slot to slot: to a slot that stays, into a whole tensor
};

class ResidencyCache {
 public:
  static constexpr uint32_t kNoSlot = 0xffffffff;

  // `pool_passes` as in EvictionPolicy.
  ResidencyCache(std::vector<Extent> extents, const std::vector<SlotClass>& classes, double pool_passes);

  const Extent& extent(ExtentId id) const { return extents_[index_of(id)]; }
  uint32_t n_extents() const { return static_cast<uint32_t>(extents_.size()); }

  // --- requests ---

  // A pass begins: heats are of passes.
  void begin_pass() { ++pass_; }

  // Asks for extents ahead of use. They are read in this order within their priority. kDemand protects those already
  // resident, too, until they are let go or the interest is dropped, and counts as their use (`scan` as in hold()).
  void request(std::span<const ExtentId> ids, Priority priority, bool scan);
  // A guess was wrong: nobody will come for these. Those held or asked for by kDemand since are left alone.
  void cancel(std::span<const ExtentId> ids);
  // Nobody will come for what was requested and is not held (a pass ended early). The ring's cycle goes on with the
  // next one.
  void drop_interest();

  // --- holds ---

  // Whether there are slots for these (no duplicates) beside all that is held.
  bool can_hold(std::span<const ExtentId> ids) const;
  // How many more extents of a class can be held.
  uint32_t n_free_of_holds(uint32_t slot_class) const;
  // A hold on extents that are read if they have to be: before all that was only asked for, and in this order. Requires
  // can_hold(). `scan`: this pass touches nearly everything, so it says nothing about what is worth keeping.
  struct Hold {
    std::vector<ExtentId> ids;
    std::vector<uint32_t> failures_before;  // [ids]
  };
  void hold(std::span<const ExtentId> ids, bool scan, Hold& hold);
  enum class HoldState { kReady, kWaiting, kFailed };
  // kFailed: a read that began after hold() failed for good.
  HoldState state_of(const Hold& hold) const;
  void let_go(std::span<const ExtentId> ids);

  // A class is complete when every extent of it lies in the slot of its own number and shall stay there: then an
  // operation can take a tensor's slices without renumbering them. All of it is held at once.
  bool is_complete(uint32_t slot_class) const;
  bool hold_all(uint32_t slot_class);  // false: it is not complete
  void let_go_all(uint32_t slot_class);

  bool is_resident(ExtentId id) const { return entry(id).state == State::kResident; }
  uint32_t slot_of(ExtentId id) const { return entry(id).slot; }  // kNoSlot when absent
  uint32_t number_in_class(ExtentId id) const { return number_[index_of(id)]; }

  // --- slots ---

  // How many slots each class shall have, never more than its extents need.
  void set_n_slots(std::span<const uint32_t> n_slots);
  uint32_t n_slots(uint32_t slot_class) const { return classes_[slot_class].target; }
  // How many it needs memory for now: n_slots(), or more while what is held does not fit them.
  uint32_t n_wanted(uint32_t slot_class) const;
  // How many it has memory for.
  uint32_t n_granted(uint32_t slot_class) const { return classes_[slot_class].granted; }
  // From now on it is `n`. Fewer only down to n_occupied().
  void grant(uint32_t slot_class, uint32_t n);
  // One behind the last slot in use.
  uint32_t n_occupied(uint32_t slot_class) const;

  // --- what to do next ---

  enum class Work { kRead, kMove };
  struct Step {
    Work work = Work::kRead;
    ExtentId id{};
    uint32_t slot = 0;
    uint32_t from_slot = kNoSlot;  // of a move
    bool urgent = false;           // somebody waits for it
    uint32_t n_slices = 1;
    // Of a whole expert tensor: slices that are in memory and where; they stay there until it has arrived.
    std::vector<ExtentId> copied = {};
    std::vector<uint32_t> copied_slots = {};
  };
  // What can begin now, nullopt when nothing can. Bookkeeping that needs nobody else is done on the way.
  std::optional<Step> next();
  void arrived(ExtentId id);
  void failed(ExtentId id);
  // All that waits for memory fails, since the system has none.
  void fail_waiting();

  // --- what there is ---

  CacheStats stats() const { return stats_; }
  void reset_stats() { stats_ = {}; }
  uint64_t resident_bytes() const { return resident_bytes_; }
  std::vector<bool> resident() const;  // [n_extents]
  std::vector<double> heat() const;    // [n_extents] as chances, for the heat profile
  void set_heat(std::span<const double> heat);

 private:
  enum class State : uint8_t { kAbsent, kReading, kMoving, kResident };
  struct Entry {
    State state = State::kAbsent;
    std::optional<Priority> reading_as = {};  // nobody reads it
    bool awaited = false;                     // read ahead, or asked for, and not held since
    bool counted = false;                     // its next use is counted already: it was asked for by kDemand
    bool guessed = false;                     // read as kLikely, and not used since
    bool again = false;  // somebody came while it was being read: should that read fail, there is one more
    uint32_t holds = 0;
    uint32_t copies = 0;  // whole tensors that are being put together from it
    uint32_t slot = kNoSlot, from_slot = kNoSlot;
    Usage usage;
    uint64_t last_use = 0;              // number of the access to the ring
    uint32_t failures = 0;              // grows with every failed read
    std::vector<ExtentId> copied = {};  // of a whole tensor being read
  };
  struct Class {
    Pool pool = Pool::kRing;
    uint64_t slot_bytes = 0;
    uint32_t n_extents = 0;
    uint32_t target = 0, limit = 0, granted = 0;  // limit: of slots that may be read into
    uint32_t n_held = 0;                          // extents
    uint32_t n_at_home = 0;                       // extents resident in the slot of their number
    uint32_t holds_of_all = 0;
    std::vector<ExtentId> owner = {};  // [granted] kNobody: free
    std::set<uint32_t> free = {};      // of those below limit
    std::set<uint32_t> beyond = {};    // slots in use that are not below limit
  };
  static constexpr ExtentId kNobody{0xffffffff};

  Entry& entry(ExtentId id) { return entries_[index_of(id)]; }
  const Entry& entry(ExtentId id) const { return entries_[index_of(id)]; }
  Class& class_of(ExtentId id) { return classes_[extent(id).slot_class]; }
  const Class& class_of(ExtentId id) const { return classes_[extent(id).slot_class]; }

  void enqueue(ExtentId id, Priority priority);
  void count_use(ExtentId id, bool scan);
  void set_state(ExtentId id, State state);
  void set_awaited(ExtentId id, bool awaited);
  void reorder(ExtentId id);
  double spare_of(ExtentId id) const;
  void set_limit(Class& slot_class, uint32_t limit);

  void take_slot(ExtentId id, uint32_t slot);
  void free_slot(Class& slot_class, uint32_t slot);
  std::optional<uint32_t> find_slot(ExtentId id, bool may_evict, bool even_awaited);
  std::optional<ExtentId> find_victim(uint32_t slot_class, bool even_awaited);
  void evict(ExtentId victim);
  bool may_start(Priority priority) const;
  std::optional<Step> next_move();
  std::optional<Step> next_read();
  Step begin_read(ExtentId id, uint32_t slot, Priority priority);
  void read_as(Entry& read, std::optional<Priority> priority, const Extent& extent);
  void end_copies(Entry& whole);

  // Constant after construction.
  const std::vector<Extent> extents_;
  const EvictionPolicy policy_;
  std::vector<uint32_t> number_;       // [n_extents] of its class
  std::vector<uint32_t> first_slice_;  // [n_extents] of a whole tensor
  std::vector<uint32_t> n_slices_;     // [n_extents] of a whole tensor, else 0
  uint32_t n_turns_ = 1;

  std::vector<Entry> entries_;
  std::vector<Class> classes_;
  ReadQueue queue_;
  // Resident extents that nobody holds: those nobody waits for, by class and turn, and those read ahead, by class.
  VictimOrder idle_order_, awaited_order_;
  std::vector<uint32_t> valued_in_pass_;  // [group of idle_order_]
  std::vector<ExtentId> asked_for_;       // since interest was last dropped; the ring's apart
  uint32_t pass_ = 1, turn_ = 0;
  uint64_t ring_accesses_ = 0;
  uint32_t n_reading_[kPriorities] = {};
  uint64_t likely_bytes_reading_ = 0;
  uint64_t resident_bytes_ = 0;
  CacheStats stats_;
};

}  // namespace spillway
