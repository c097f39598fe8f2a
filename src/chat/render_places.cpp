// SPDX-License-Identifier: MIT
#include "chat/render_places.h"

#include <algorithm>

namespace spillway {

// Who finds room passes nobody by: those who wait are long ones that have none.
void RenderPlaces::take(bool is_long) {
  const MutexLock lock(mutex_);
  if (has_room_locked(is_long)) return occupy_locked(is_long);
  Waiter me{.is_long = is_long};
  waiting_.push_back(&me);
  while (!me.has_place) me.called.wait(mutex_);
}

void RenderPlaces::give_back(bool is_long) {
  const MutexLock lock(mutex_);
  --n_taken_;
  if (is_long) --n_long_;
  const auto next = std::find_if(waiting_.begin(), waiting_.end(), [this](const Waiter* waiter) REQUIRES(mutex_) {
    return has_room_locked(waiter->is_long);
  });
  if (next == waiting_.end()) return;
  // The place is theirs from now on: who comes before they wake up finds it taken.
  occupy_locked((*next)->is_long);
  (*next)->has_place = true;
  (*next)->called.notify_one();
  waiting_.erase(next);
}

size_t RenderPlaces::n_waiting() const {
  const MutexLock lock(mutex_);
  return waiting_.size();
}

bool RenderPlaces::has_room_locked(bool is_long) const {
  return n_taken_ < n_places_ && !(is_long && n_long_ >= n_places_ / 2);
}

void RenderPlaces::occupy_locked(bool is_long) {
  ++n_taken_;
  if (is_long) ++n_long_;
}

}  // namespace spillway
