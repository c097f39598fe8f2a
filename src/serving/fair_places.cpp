// SPDX-License-Identifier: MIT
#include "serving/fair_places.h"

#include <cstdint>

#include "base/check.h"
#include "base/clock.h"

namespace spillway {
namespace {

// How long somebody who left may go unnoticed.
constexpr std::chrono::milliseconds kLook{250};

}  // namespace

FairPlaces::FairPlaces(size_t n) : n_places_(n), short_(SIZE_MAX), long_(SIZE_MAX) { CHECK(n >= 2); }

// Who finds room passes nobody by: those who wait have none.
Result<FairPlaces::Place> FairPlaces::take(const Asker& asker, bool is_long,
                                           std::optional<std::chrono::milliseconds> patience) {
  const auto left = [] { return error(Code::kCancelled, "nobody waits for it any more"); };
  if (asker.has_left()) return left();
  const Stopwatch waited;
  Waiter me;
  {
    const MutexLock lock(mutex_);
    if (has_room_locked(is_long)) {
      occupy_locked(is_long);
      return Place(this, is_long);
    }
    queue(is_long).push(asker.client, &me);
  }
  for (;;) {
    {
      const MutexLock lock(mutex_);
      if (!me.has_place) me.called.wait_for(mutex_, kLook);
      if (me.has_place) return Place(this, is_long);
    }
    const bool has_left = asker.has_left();
    const bool is_late = patience && waited.elapsed_s() * 1e3 >= static_cast<double>(patience->count());
    if (!has_left && !is_late) continue;
    const MutexLock lock(mutex_);
    if (me.has_place) return Place(this, is_long);  // just now
    queue(is_long).remove_if([&](const Waiter* waiter) { return waiter == &me; }, [](Waiter*) {});
    return has_left ? left() : error(Code::kBusy, "too many others wait for the same; try again");
  }
}

void FairPlaces::give_back(bool is_long) {
  const MutexLock lock(mutex_);
  --n_taken_;
  if (is_long) --n_long_;
  const auto [next, next_is_long] = next_locked();
  if (next == nullptr) return;
  // The place is theirs from now on: who comes before they wake up finds it taken.
  occupy_locked(next_is_long);
  next->has_place = true;
  next->called.notify_one();
}

std::pair<FairPlaces::Waiter*, bool> FairPlaces::next_locked() {
  const bool shorts_have_their_half = n_taken_ - n_long_ >= n_places_ / 2;
  const bool is_long = has_room_locked(true) && !long_.empty() && (short_.empty() || shorts_have_their_half);
  return {queue(is_long).pop().value_or(nullptr), is_long};
}

size_t FairPlaces::n_waiting() const {
  const MutexLock lock(mutex_);
  return short_.size() + long_.size();
}

bool FairPlaces::has_room_locked(bool is_long) const {
  return n_taken_ < n_places_ && !(is_long && n_long_ >= n_places_ / 2);
}

void FairPlaces::occupy_locked(bool is_long) {
  ++n_taken_;
  if (is_long) ++n_long_;
}

}  // namespace spillway
