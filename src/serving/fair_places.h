// SPDX-License-Identifier: MIT
// So many do a thing at once, on threads of their own, and more wait: clients take turns, and each has its own in the
// order in which they came. Long pieces of work and short ones have half of the places each where both wait, and long
// ones never more, so that a short one waits for short ones alone, however many long ones somebody sends.
//
// A place goes to who waits for it at that very moment. Who does something else meanwhile, such as sending to a client
// that hardly reads, keeps his turn in the line and nobody out.
//
// Threads: any. Lifetime: outlives its places.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "base/status.h"
#include "serving/asker.h"
#include "serving/fair_queue.h"

namespace spillway {

// Beyond it a text is long: some 2,000 messages, which take a tenth of a second to render.
inline constexpr size_t kShortTextBytesMax = 64 << 10;

class FairPlaces {
 public:
  // n: two or more
  explicit FairPlaces(size_t n);

  // A place in the line, and from the wait() on in which it comes one to work at, until it goes.
  class Turn {
   public:
    // `stays`: whoever has it does nothing but wait for it.
    Turn(FairPlaces& places, const std::string& client, bool is_long, bool stays = false);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    // Whether it has come, after at most `patience`.
    bool wait(std::chrono::milliseconds patience);

   private:
    friend class FairPlaces;
    FairPlaces& places_;
    const bool is_long_;
    bool is_waited_for_, has_come_ = false;  // guarded by the places' mutex
    CondVar called_;
  };

  // A turn that has come.
  using Place = std::unique_ptr<Turn>;

  // Waits for one, for `patience` at the longest.
  //   Cancelled   nobody waits for it any more
  //   Busy        none came in that time
  Result<Place> take(const Asker& asker, bool is_long, std::optional<std::chrono::milliseconds> patience = {})
      EXCLUDES(mutex_);

  size_t n_waiting() const EXCLUDES(mutex_);

 private:
  FairQueue<Turn*>& queue(bool is_long) REQUIRES(mutex_) { return is_long ? long_ : short_; }
  void enter(Turn& turn, const std::string& client) EXCLUDES(mutex_);
  void leave(Turn& turn) EXCLUDES(mutex_);
  void give_out_locked() REQUIRES(mutex_);
  Turn* next_locked() REQUIRES(mutex_);

  const size_t n_places_;
  mutable Mutex mutex_;
  size_t n_taken_ GUARDED_BY(mutex_) = 0, n_long_ GUARDED_BY(mutex_) = 0;
  FairQueue<Turn*> short_ GUARDED_BY(mutex_), long_ GUARDED_BY(mutex_);  // who waits
};

}  // namespace spillway
