// SPDX-License-Identifier: MIT
// Keeps a loaded model within its memory while that changes: the user names another budget, or others on the machine or
// in the same cgroup take memory and give it back.
//
// What can give way are the slots of the cache, and after them the dense weights that were loaded for good: they are
// read from the file's mapping then, which is slow and right. What a resident model holds can not; pressure is counted
// then, no more.
//
// Threads: a thread of its own watches and acts; the calls are for any thread.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/engine.h"
#include "layout/layout.h"
#include "layout/pool_deal.h"
#include "os/io_queue.h"
#include "os/pressure.h"
#include "plan/budget_control.h"
#include "store/pinned_weights.h"
#include "store/weight_store.h"

namespace spillway {

// What a load leaves to a budget. All that is pointed to outlives it.
struct BudgetedWeights {
  MemoryReport memory;
  bool is_watched = true;  // false: they are left to the page cache, and give way by themselves
  // Null where nothing streams: then nothing can give way.
  const Layout* layout = nullptr;
  PinnedWeights* pinned = nullptr;
  WeightStore* store = nullptr;
  IoQueueKind reader = IoQueueKind::kBest;  // what was given back is read with again
  std::atomic<bool>* abort = nullptr;       // ends a pass for the sake of others
};

class LiveBudget {
 public:
  // Where nothing is watched reserve() still counts.
  //   Io   the system has no descriptor or thread left
  static Result<std::unique_ptr<LiveBudget>> start(const BudgetedWeights& weights);
  ~LiveBudget();

  // See Engine::set_budget.
  Result<void> set_budget(uint64_t ram_bytes) EXCLUDES(mu_);

  // Memory that something else than weights takes since the load, in all: contexts that were made later.
  // The weights make room for it before this returns; less than before is always granted. Not from two threads at once.
  //   OutOfBudget   the budget has no room for it; what was reserved before still is
  //   Busy          weights did not make room in time; the same holds
  Result<void> reserve(uint64_t bytes) EXCLUDES(mu_);

  //   Busy   others leave less memory than one token needs; what could be given back was
  Result<void> check() const;

  struct State {
    uint64_t budget_bytes = 0;    // asked for
    uint64_t pool_bytes = 0;      // what slots may take now
    uint64_t unpinned_bytes = 0;  // of what was loaded for good, given back
    uint64_t reserved_bytes = 0;  // see reserve()
    uint64_t shrinks = 0, growths = 0;
  };
  State state() const EXCLUDES(mu_);

 private:
  LiveBudget(const BudgetedWeights& weights, PressureWatch watch);
  void watch_loop();
  void wait_for_next_sample(const MemoryState& seen);
  uint64_t fixed_bytes(uint64_t reserved_bytes) const;  // what does not come and go
  Result<void> check_room(uint64_t ram_bytes, uint64_t reserved_bytes) const;
  void ask_for_room(uint64_t ram_bytes, uint64_t reserved_bytes) REQUIRES(mu_);
  void adjust(const BudgetSample& sample) EXCLUDES(mu_);
  uint64_t held_bytes() const;
  uint64_t kept_bytes() const;
  void set_pool(uint64_t pool_bytes, bool is_short) EXCLUDES(mu_);
  void give_back(uint64_t keep_bytes) EXCLUDES(mu_);
  void load_again(uint64_t keep_bytes) EXCLUDES(mu_);

  // Constant after construction.
  const BudgetedWeights weights_;
  const bool streams_;
  std::optional<PoolDeal> deal_;
  const uint64_t pinned_elastic_bytes_;  // of the dense weights that stay, those that can go all the same

  std::atomic<bool> short_{false};
  std::atomic<bool> stopping_{false};

  mutable Mutex mu_;
  CondVar adjusted_;
  uint64_t n_adjusted_ GUARDED_BY(mu_) = 0;  // times that weights were brought to what they may have
  uint64_t budget_bytes_ GUARDED_BY(mu_);
  uint64_t elastic_max_bytes_ GUARDED_BY(mu_) = 0;  // weights that may come and go were never to have more
  uint64_t reserved_bytes_ GUARDED_BY(mu_) = 0;
  BudgetControl control_ GUARDED_BY(mu_);
  uint64_t pool_bytes_ GUARDED_BY(mu_) = 0;
  uint64_t unpinned_bytes_ GUARDED_BY(mu_) = 0;

  // The watching thread's.
  PressureWatch watch_;
  std::unique_ptr<IoQueue> queue_;  // to load again what was given back

  std::thread thread_;  // last: it uses everything above
};

}  // namespace spillway
