// SPDX-License-Identifier: MIT
// So many conversations are rendered at once, and more wait: first come, first served. Long ones take half of the
// places at most, so that a short one waits for short ones alone, however many long ones somebody sends.
//
// Threads: any. Lifetime: outlives its places.
#pragma once

#include <cstddef>
#include <list>

#include "base/mutex.h"

namespace spillway {

class RenderPlaces {
 public:
  explicit RenderPlaces(size_t n) : n_places_(n) {}

  // Waits for a place, and has it while it lives.
  class Place {
   public:
    Place(RenderPlaces& places, bool is_long) : places_(places), is_long_(is_long) { places_.take(is_long_); }
    ~Place() { places_.give_back(is_long_); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    RenderPlaces& places_;
    const bool is_long_;
  };

  size_t n_waiting() const EXCLUDES(mutex_);

 private:
  struct Waiter {
    const bool is_long;
    bool has_place = false;
    CondVar called{};
  };

  void take(bool is_long) EXCLUDES(mutex_);
  void give_back(bool is_long) EXCLUDES(mutex_);
  bool has_room_locked(bool is_long) const REQUIRES(mutex_);
  void occupy_locked(bool is_long) REQUIRES(mutex_);

  const size_t n_places_;
  mutable Mutex mutex_;
  size_t n_taken_ GUARDED_BY(mutex_) = 0, n_long_ GUARDED_BY(mutex_) = 0;
  std::list<Waiter*> waiting_ GUARDED_BY(mutex_);  // who came first is first; each lives in its take()
};

}  // namespace spillway
