// SPDX-License-Identifier: MIT
// So many do a thing at once, on threads of their own, and more wait: clients take turns, and each has its own in the
// order in which they came. Long pieces of work and short ones have half of the places each where both wait, and long
// ones never more, so that a short one waits for short ones alone, however many long ones somebody sends.
//
// Threads: any. Lifetime: outlives its places.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "serving/asker.h"
#include "serving/fair_queue.h"

namespace spillway {

class FairPlaces {
 public:
  // n: two or more
  explicit FairPlaces(size_t n);

  // Taken while it lives.
  class Place {
   public:
    Place(Place&& other) noexcept : places_(std::exchange(other.places_, nullptr)), is_long_(other.is_long_) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (places_ != nullptr) places_->give_back(is_long_);
    }

   private:
    friend class FairPlaces;
    Place(FairPlaces* places, bool is_long) : places_(places), is_long_(is_long) {}

    FairPlaces* places_;
    bool is_long_;
  };

  // Waits for one, for `patience` at the longest.
  //   Cancelled   nobody waits for it any more
  //   Busy        none came in that time
  Result<Place> take(const Asker& asker, bool is_long, std::optional<std::chrono::milliseconds> patience = {})
      EXCLUDES(mutex_);

  size_t n_waiting() const EXCLUDES(mutex_);

 private:
  struct Waiter {
    bool has_place = false;
    CondVar called{};
  };

  FairQueue<Waiter*>& queue(bool is_long) REQUIRES(mutex_) { return is_long ? long_ : short_; }
  void give_back(bool is_long) EXCLUDES(mutex_);
  std::pair<Waiter*, bool> next_locked() REQUIRES(mutex_);
  bool has_room_locked(bool is_long) const REQUIRES(mutex_);
  void occupy_locked(bool is_long) REQUIRES(mutex_);

  const size_t n_places_;
  mutable Mutex mutex_;
  size_t n_taken_ GUARDED_BY(mutex_) = 0, n_long_ GUARDED_BY(mutex_) = 0;
  FairQueue<Waiter*> short_ GUARDED_BY(mutex_), long_ GUARDED_BY(mutex_);  // each lives in its take()
};

}  // namespace spillway
