// SPDX-License-Identifier: MIT
#include "serving/fair_places.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "base/clock.h"

namespace spillway {
namespace {

// How long somebody who left may go unnoticed.
constexpr std::chrono::milliseconds kLook{250};

}  // namespace

FairPlaces::FairPlaces(size_t n) : n_places_(n), short_(SIZE_MAX), long_(SIZE_MAX) { CHECK(n >= 2); }

FairPlaces::Turn::Turn(FairPlaces& places, const std::string& client, bool is_long, bool stays)
    : places_(places), is_long_(is_long), is_waited_for_(stays) {
  places_.enter(*this, client);
}

FairPlaces::Turn::~Turn() { places_.leave(*this); }

bool FairPlaces::Turn::wait(std::chrono::milliseconds patience) {
  const MutexLock lock(places_.mutex_);
  if (has_come_) return true;
  const bool stays = std::exchange(is_waited_for_, true);
  places_.give_out_locked();
  if (!has_come_) called_.wait_for(places_.mutex_, patience, [this] { return has_come_; });
  is_waited_for_ = stays;
  return has_come_;
}

Result<FairPlaces::Place> FairPlaces::take(const Asker& asker, bool is_long,
                                           std::optional<std::chrono::milliseconds> patience) {
  const Stopwatch waited;
  const auto has_time = [&] { return !patience || waited.elapsed_s() * 1e3 < static_cast<double>(patience->count()); };
  auto turn = std::make_unique<Turn>(*this, asker.client, is_long, true);
  for (;;) {
    if (asker.has_left()) return error(Code::kCancelled, "nobody waits for it any more");
    if (turn->wait(patience ? std::min(kLook, *patience) : kLook)) return turn;
    if (!has_time()) return error(Code::kBusy, "too many others wait for the same; try again");
  }
}

void FairPlaces::enter(Turn& turn, const std::string& client) {
  const MutexLock lock(mutex_);
  queue(turn.is_long_).push(client, &turn);
  give_out_locked();
}

void FairPlaces::leave(Turn& turn) {
  const MutexLock lock(mutex_);
  if (!turn.has_come_) {
    queue(turn.is_long_).remove_if([&](const Turn* one) { return one == &turn; }, [](Turn*) {});
    return;
  }
  --n_taken_;
  if (turn.is_long_) --n_long_;
  give_out_locked();
}

// A place is theirs from now on: who comes before they wake up finds it taken.
void FairPlaces::give_out_locked() {
  while (Turn* const next = next_locked()) {
    ++n_taken_;
    if (next->is_long_) ++n_long_;
    next->has_come_ = true;
    next->called_.notify_one();
  }
}

FairPlaces::Turn* FairPlaces::next_locked() {
  if (n_taken_ >= n_places_) return nullptr;
  const auto is_waited_for = [](const Turn* turn) { return turn->is_waited_for_; };
  const bool room_for_long = n_long_ < n_places_ / 2, shorts_have_their_half = n_taken_ - n_long_ >= n_places_ / 2;
  std::optional<Turn*> next;
  if (room_for_long && shorts_have_their_half) next = long_.pop_if(is_waited_for);
  if (!next) next = short_.pop_if(is_waited_for);
  if (!next && room_for_long) next = long_.pop_if(is_waited_for);
  return next.value_or(nullptr);
}

size_t FairPlaces::n_waiting() const {
  const MutexLock lock(mutex_);
  return short_.size() + long_.size();
}

}  // namespace spillway
