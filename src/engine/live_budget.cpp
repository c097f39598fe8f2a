// SPDX-License-Identifier: MIT
#include "engine/live_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/saturating_sub.h"
#include "os/machine.h"
#include "store/workers.h"

namespace spillway {
namespace {

// Between two samples: others take 1-2 GB/s, and in a cgroup, or with little left, a few MiB decide.
constexpr std::chrono::milliseconds kSampleEvery{50};
constexpr std::chrono::milliseconds kSampleCloselyEvery{20};
// Between two checks of what the cgroup has taken, where less is left than others can take in some 60 ms: who
// touches new memory takes 2 MiB/ms, and the stretch of computing that holds weights has yet to end. Two samples apart
// they had all of 46 MiB before we knew. A check takes some microseconds.
constexpr std::chrono::milliseconds kCheckEvery{2};
constexpr uint64_t kCheckBelowBytes = 160 * MiB;
constexpr uint64_t kCheckRiseBytes = 3 * MiB;
constexpr std::chrono::milliseconds kFreeEvery{1};
constexpr int kFreeTries = 20;
// Where nothing can be given back, a sample only decides whether the next request is refused; each takes 0.1 ms or more
// from a thread that computes, while the others wait for it.
constexpr std::chrono::milliseconds kSampleOnlyEvery{100};

constexpr unsigned kLoadAgainDepth = 4;

// The most that giving back takes: 2 GiB/s, and an operation that holds its weights meanwhile.
constexpr double kMakeRoom_s = 5;

uint64_t elastic_bytes(const BudgetedWeights& weights) {
  return weights.store != nullptr ? weights.layout->pinned_bytes - weights.pinned->bytes_min() : 0;
}

uint64_t weights_held(const BudgetedWeights& weights) {
  return weights.store != nullptr ? weights.memory.pool_bytes : weights.memory.pinned_bytes;
}

}  // namespace

Result<std::unique_ptr<LiveBudget>> LiveBudget::start(const BudgetedWeights& weights) {
  ASSIGN_OR_RETURN(PressureWatch watch, PressureWatch::open());
  std::unique_ptr<LiveBudget> budget(new LiveBudget(weights, std::move(watch)));
  try {
    if (weights.is_watched) budget->thread_ = std::thread([self = budget.get()] { self->watch_loop(); });
  } catch (const std::system_error& e) {
    return error(Code::kIo, fmt::format("a thread for it: {}", e.what()));
  }
  return budget;
}

LiveBudget::LiveBudget(const BudgetedWeights& weights, PressureWatch watch)
    : weights_(weights),
      streams_(weights.store != nullptr),
      pinned_elastic_bytes_(elastic_bytes(weights)),
      budget_bytes_(weights.memory.budget_bytes),
      elastic_max_bytes_(weights_held(weights) + pinned_elastic_bytes_),
      control_(weights_held(weights) + pinned_elastic_bytes_,
               weights.store != nullptr ? weights.store->deal().bytes_min() : 0),
      pool_bytes_(weights.memory.pool_bytes),
      watch_(std::move(watch)) {
  if (weights.store != nullptr) deal_.emplace(weights.store->deal());
}

LiveBudget::~LiveBudget() {
  stopping_ = true;
  watch_.wake();
  if (thread_.joinable()) thread_.join();
}

Result<void> LiveBudget::set_budget(uint64_t ram_bytes) {
  if (!streams_)
    return error(Code::kUnsupported,
                 "the model is in memory as a whole and stays there; load it again with another --ram");
  {
    MutexLock lock(mu_);
    const uint64_t max_bytes = std::exchange(elastic_max_bytes_, pinned_elastic_bytes_ + deal_->bytes_max());
    if (auto room = check_room(ram_bytes, reserved_bytes_); !room) {
      elastic_max_bytes_ = max_bytes;
      return room;
    }
    ask_for_room(ram_bytes, reserved_bytes_);
  }
  watch_.wake();
  return {};
}

uint64_t LiveBudget::fixed_bytes(uint64_t reserved_bytes) const {
  return weights_.memory.other_bytes + weights_.memory.pinned_bytes - pinned_elastic_bytes_ + reserved_bytes;
}

Result<void> LiveBudget::check_room(uint64_t ram_bytes, uint64_t reserved_bytes) const {
  const uint64_t least_bytes = fixed_bytes(reserved_bytes) + (streams_ ? deal_->bytes_min() : 0);
  if (ram_bytes >= least_bytes) return {};
  return error(Code::kOutOfBudget, fmt::format("a budget of {} is too small: as it is loaded, this model needs {}",
                                               format_bytes(ram_bytes), format_bytes(round_up(least_bytes, MiB))));
}

// What this budget leaves for the weights that may come and go, beside what is reserved.
void LiveBudget::ask_for_room(uint64_t ram_bytes, uint64_t reserved_bytes) {
  budget_bytes_ = ram_bytes;
  reserved_bytes_ = reserved_bytes;
  if (streams_)
    control_.set_asked(std::min(saturating_sub(ram_bytes, fixed_bytes(reserved_bytes)), elastic_max_bytes_));
}

Result<void> LiveBudget::reserve(uint64_t bytes) {
  // 1. Is there room, and how much less is that for weights?
  uint64_t before_bytes = 0, asked_bytes = 0, n_adjusted = 0;
  {
    MutexLock lock(mu_);
    before_bytes = reserved_bytes_;
    if (bytes > before_bytes) RETURN_IF_ERROR(check_room(budget_bytes_, bytes));
    ask_for_room(budget_bytes_, bytes);
    if (!streams_ || bytes <= before_bytes) return {};
    asked_bytes = control_.bytes();
    n_adjusted = n_adjusted_;
  }
  watch_.wake();
  // 2. It is there when the slots are gone. A sample may have been under way: the second one from here knows.
  const double deadline_s = monotonic_s() + kMakeRoom_s;
  {
    MutexLock lock(mu_);
    while (n_adjusted_ < n_adjusted + 2 && monotonic_s() < deadline_s)
      adjusted_.wait_for(mu_, std::chrono::milliseconds(20));
  }
  if (!weights_.store->wait_until_shrunk(std::chrono::milliseconds(static_cast<int64_t>(kMakeRoom_s * 1000))) ||
      held_bytes() > asked_bytes) {
    MutexLock lock(mu_);
    ask_for_room(budget_bytes_, before_bytes);
    return error(Code::kBusy, fmt::format("weights did not make room for {} in time; try again",
                                          format_bytes(bytes - before_bytes)));
  }
  return {};
}

Result<void> LiveBudget::check() const {
  if (!short_) return {};
  return error(Code::kBusy,
               fmt::format("other programs left too little memory: streaming this model needs {} for weights in use; "
                           "try again when there is more",
                           format_bytes(deal_->bytes_min())));
}

LiveBudget::State LiveBudget::state() const {
  MutexLock lock(mu_);
  return {.budget_bytes = budget_bytes_,
          .pool_bytes = pool_bytes_,
          .unpinned_bytes = unpinned_bytes_,
          .reserved_bytes = reserved_bytes_,
          .shrinks = control_.shrinks(),
          .growths = control_.growths()};
}

void LiveBudget::watch_loop() {
  name_thread("spillway-budget");
  while (!stopping_) {
    try {
      const MemoryPressure pressure = watch_.take_sample();
      // After it: memory given back in between counts as neither rather than twice.
      const uint64_t held = held_bytes();
      adjust({.now_s = monotonic_s(),
              .available_bytes = pressure.memory.available_bytes,
              .limit_bytes = pressure.memory.limit_bytes,
              .held_bytes = held,
              .stalled_s = pressure.stalled_s});
      wait_for_next_sample(pressure.memory);
    } catch (const std::bad_alloc&) {
      // Not even the little that this takes is left, and giving back matters more than ever: again soon.
      watch_.wait(kSampleCloselyEvery);
    }
  }
}

void LiveBudget::wait_for_next_sample(const MemoryState& seen) {
  if (!streams_) return void(watch_.wait(kSampleOnlyEvery));
  const bool closely = seen.limited_by_cgroup || seen.available_bytes < seen.limit_bytes / 8;
  if (!closely) return void(watch_.wait(kSampleEvery));
  if (!seen.limited_by_cgroup || seen.available_bytes >= kCheckBelowBytes)
    return void(watch_.wait(kSampleCloselyEvery));
  for (auto waited = kCheckEvery; waited <= kSampleCloselyEvery; waited += kCheckEvery)
    if (watch_.wait(kCheckEvery) || watch_.has_risen(kCheckRiseBytes)) return;
}

uint64_t LiveBudget::held_bytes() const {
  if (!streams_) return weights_held(weights_);
  return weights_.store->pool_bytes() + kept_bytes();
}

void LiveBudget::adjust(const BudgetSample& sample) {
  // 1. How much, and is it enough?
  uint64_t elastic_bytes = 0;
  bool is_short = false;
  {
    MutexLock lock(mu_);
    control_.observe(sample);
    elastic_bytes = control_.bytes();
    is_short = control_.is_short();
  }
  if (!streams_) return;

  // 2. Slots give way first and come back last: a dense weight is used by every token.
  const uint64_t keep_bytes = saturating_sub(elastic_bytes, deal_->bytes_min());
  set_pool(std::max(deal_->bytes_min(), saturating_sub(elastic_bytes, pinned_elastic_bytes_)), is_short);
  give_back(keep_bytes);
  if (!is_short) load_again(keep_bytes);

  // 3. A pass under way ends, later ones do not begin: what they hold is what the others lack.
  if (is_short && !short_.exchange(true)) *weights_.abort = true;
  if (!is_short) short_ = false;
  MutexLock lock(mu_);
  unpinned_bytes_ = saturating_sub(pinned_elastic_bytes_, kept_bytes());
  ++n_adjusted_;
  adjusted_.notify_all();
}

// Of the dense weights that can go, what is in memory.
uint64_t LiveBudget::kept_bytes() const {
  const PinnedWeights& pinned = *weights_.pinned;
  return saturating_sub(pinned.bytes_held(), pinned.bytes_min());
}

void LiveBudget::set_pool(uint64_t pool_bytes, bool is_short) {
  {
    MutexLock lock(mu_);
    // As planned at load, the deal of the plan stands.
    if (pool_bytes == pool_bytes_ && is_short == short_) return;
  }
  weights_.store->set_pool_bytes(is_short ? 0 : pool_bytes);
  MutexLock lock(mu_);  // behind it: what failed is tried again
  pool_bytes_ = pool_bytes;
}

// Until no more than `keep_bytes` of the dense weights that can go are there: those of the last layers first.
void LiveBudget::give_back(uint64_t keep_bytes) {
  PinnedWeights& pinned = *weights_.pinned;
  pinned.give_back(pinned.bytes_min() + keep_bytes);
  // A stretch of computing may still use them, of a few milliseconds (engine/gate): others take a GB in that time of
  // samples, so it is waited for.
  for (int i = 0; i < kFreeTries && pinned.is_over() && !stopping_; ++i) {
    std::this_thread::sleep_for(kFreeEvery);
    pinned.free_what_is_over();
  }
}

// One at a time: it takes as long as reading it, and others may press meanwhile.
void LiveBudget::load_again(uint64_t keep_bytes) {
  PinnedWeights& pinned = *weights_.pinned;
  if (pinned.is_loaded() || pinned.bytes_with_next() > pinned.bytes_min() + keep_bytes) return;
  if (queue_ == nullptr) {
    auto queue = open_io_queue(weights_.reader, kLoadAgainDepth);
    if (!queue) return;
    queue_ = std::move(*queue);
  }
  // A read that fails leaves it to the file's mapping, which tells who computes with it.
  Workers nobody(0);
  (void)pinned.load(1, *queue_, nobody, nullptr);
}

}  // namespace spillway
