// SPDX-License-Identifier: MIT
// Weights that stream: a pool of slots in huge pages, a thread that reads ahead into them, and a front for who
// computes. What is in which slot is store/residency_cache's business; here are the memory, the disk and the threads.
//
// Threads: thread-safe. Who computes calls request/acquire/release (one compute thread is expected); a reader thread of
// our own does all reading, and changes how much memory the pool has. No lock is held across a read. Publishing and
// evicting are bookkeeping: nothing here calls the system while the pool keeps its size, but to read and to wait.
// Lifetime: the layout, the files and the queue outlive it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "layout/layout.h"
#include "layout/pool_deal.h"
#include "os/io_queue.h"
#include "os/memory.h"
#include "store/fills.h"
#include "store/residency_cache.h"
#include "store/workers.h"

namespace spillway {

struct StoreOptions {
  std::vector<const File*> files;  // as GgufModel::files
  uint32_t read_bytes = 0;         // of one read, a multiple of 4096; 0: tuning.h's default
  unsigned n_workers = 1;          // that put in place what cannot be read there
  Place place = place_plain;
  double pool_passes = 1;  // as in EvictionPolicy

  // For tests of the tests: one bit of this extent is flipped when it has arrived.
  int64_t corrupt_extent = -1;
};

// Since the store was opened, or since reset_stats() was last called.
struct StoreStats : CacheStats {
  double wait_s = 0;            // acquire() blocked
  double reader_busy_s = 0;     // at least one read was in flight
  double reader_cpu_s = 0;      // of the reader thread
  double place_cpu_s = 0;       // of the workers
  double caller_cpu_s = 0;      // of callers inside this class
  uint64_t resident_bytes = 0;  // now
  uint64_t pool_bytes = 0;      // now: memory taken for slots
};

// Where extents of one class lie.
struct SlotArea {
  std::byte* base = nullptr;
  uint64_t slot_bytes = 0;

  std::byte* slot(uint32_t number) const { return base + number * slot_bytes; }
};

class WeightStore {
 public:
  //   OutOfBudget   the system lacks memory or addresses
  static Result<std::unique_ptr<WeightStore>> open(const Layout& layout, std::unique_ptr<IoQueue> queue,
                                                   StoreOptions options);
  ~WeightStore();

  const Extent& extent(ExtentId id) const { return cache_extents_[index_of(id)]; }
  uint32_t n_extents() const { return static_cast<uint32_t>(cache_extents_.size()); }
  SlotArea area(uint32_t slot_class) const { return areas_[slot_class]; }

  // As ResidencyCache's; each returns at once.
  void begin_pass() EXCLUDES(mu_);
  void request(std::span<const ExtentId> ids, Priority priority, bool scan = false) EXCLUDES(mu_);
  void cancel(std::span<const ExtentId> ids) EXCLUDES(mu_);
  void drop_interest() EXCLUDES(mu_);

  // Makes `ids` (no duplicates, of one class) resident and holds them there until released. Blocks while they are read.
  // `slots` gets the slot of each. Returns whether as many again could be held beside all that is held.
  //   OutOfBudget   more extents of one length than there are slots for, beside those that are held, or than there is
  //                 memory for before something that is held is released; nothing is held
  //   Io  Changed   a read that began after the call failed twice; nothing is held
  //   Unavailable   the thread that reads ended for want of memory, and the model has to be loaded again
  Result<bool> acquire(std::span<const ExtentId> ids, bool scan, std::vector<uint32_t>& slots) EXCLUDES(mu_);
  void release(std::span<const ExtentId> ids) EXCLUDES(mu_);

  //   Unavailable   as acquire(): nothing can be had any more
  Result<void> check() const EXCLUDES(mu_);

  // Whether acquire() would not wait, nor be refused.
  bool is_ready(std::span<const ExtentId> ids) const EXCLUDES(mu_);

  // Whether everything of a class is resident, each extent in the slot of its number; and holding all of that.
  bool is_complete(uint32_t slot_class) const EXCLUDES(mu_);
  bool acquire_all(uint32_t slot_class) EXCLUDES(mu_);
  void release_all(uint32_t slot_class) EXCLUDES(mu_);
  // An extent's number in its class.
  uint32_t number_in_class(ExtentId id) const { return numbers_[index_of(id)]; }

  // How much memory slots may take, and for which passes it is dealt out. Returns at once. Less: extents that can best
  // be spared leave, what is held follows when it is released.
  void set_pool_bytes(uint64_t bytes) EXCLUDES(mu_);
  void set_pass_kind(PassKind kind) EXCLUDES(mu_);
  uint32_t n_slots(uint32_t slot_class) const EXCLUDES(mu_);
  // As they are for passes whose experts the router chooses, whatever passes they are dealt out for now; [n_class].
  std::vector<uint32_t> n_routed_slots() const EXCLUDES(mu_);
  bool has_room_for_whole() const EXCLUDES(mu_);
  uint64_t allowed_bytes() const EXCLUDES(mu_);
  const PoolDeal& deal() const { return deal_; }

  // Blocks until no class has more memory than its slots take, at most `timeout`; whether it is so.
  bool wait_until_shrunk(std::chrono::milliseconds timeout) EXCLUDES(mu_);
  // Blocks until all that was requested and finds memory is resident, at most `timeout`; whether it is.
  bool wait_until_read(std::chrono::milliseconds timeout) EXCLUDES(mu_);

  bool is_resident(ExtentId id) const EXCLUDES(mu_);
  bool all_resident(std::span<const ExtentId> ids) const EXCLUDES(mu_);
  std::vector<bool> resident() const EXCLUDES(mu_);  // [n_extents]

  StoreStats stats() const EXCLUDES(mu_);
  void reset_stats() EXCLUDES(mu_);
  uint64_t pool_bytes() const { return taken_bytes_; }  // as in the statistics, and cheaper

  std::vector<double> heat() const EXCLUDES(mu_);
  void set_heat(std::span<const double> heat) EXCLUDES(mu_);

 private:
  WeightStore(const Layout& layout, std::unique_ptr<IoQueue> queue, StoreOptions options);
  Result<void> take_memory(const Layout& layout);
  void deal_out(uint64_t allowed_bytes, PassKind kind) REQUIRES(mu_);
  bool is_shrunk() const REQUIRES(mu_);

  // The reader thread.
  enum class Next : uint8_t { kContinue, kWait, kStop };
  void read_loop();
  Next begin_next() EXCLUDES(mu_);
  bool resize_areas() REQUIRES(mu_);
  void begin(const ResidencyCache::Step& step);
  Fill fill_of(const ResidencyCache::Step& step) const;
  std::byte* data_of(ExtentId id, uint32_t slot) const;
  void account() REQUIRES(mu_);
  // The reader thread or a worker.
  void finish(ExtentId id, const std::optional<Status>& failure) EXCLUDES(mu_);
  void give_up() EXCLUDES(mu_);

  // Constant after construction.
  const StoreOptions options_;
  const std::vector<Extent> cache_extents_;
  std::vector<uint32_t> numbers_;  // [n_extents]
  const std::vector<SlotClass> classes_;
  const PoolDeal deal_;
  std::vector<SlotArea> areas_;        // [n_class]
  std::vector<uint64_t> slice_bytes_;  // [n_extents] of a whole tensor: of one slice in memory
  const uint64_t unit_bytes_;

  // The reader thread's alone.
  std::vector<HugeArea> memory_;  // [n_class]
  const std::unique_ptr<IoQueue> queue_;
  double cpu_counted_s_ = 0;
  double busy_since_s_ = 0;  // not in the statistics yet; 0: not busy
  bool refused_ = false;     // the system did not give the memory that was last asked for

  std::atomic<uint64_t> taken_bytes_{0};

  mutable Mutex mu_;
  CondVar work_;     // for the reader: something was asked for or let go
  CondVar arrived_;  // for who waits: an extent became resident or failed, memory went back
  ResidencyCache cache_ GUARDED_BY(mu_);
  ResidencyCache::Hold hold_ GUARDED_BY(mu_);  // kept for its memory
  uint64_t allowed_bytes_ GUARDED_BY(mu_) = 0;
  PassKind pass_kind_ GUARDED_BY(mu_) = PassKind::kRouted;
  Status last_failure_ GUARDED_BY(mu_){Code::kIo, ""};
  StoreStats stats_ GUARDED_BY(mu_);  // but for what the cache counts
  double place_counted_s_ GUARDED_BY(mu_) = 0;
  bool idle_ GUARDED_BY(mu_) = false;  // the reader found nothing to do; cleared by each request for something
  bool stopping_ GUARDED_BY(mu_) = false;
  // Something threw where extents are read, so what the cache says of them may be wrong: nothing is read any more.
  bool broken_ GUARDED_BY(mu_) = false;

  Workers workers_;
  std::unique_ptr<Fills> fills_;  // the reader thread's
  std::thread reader_;            // last: it uses everything above
};

}  // namespace spillway
