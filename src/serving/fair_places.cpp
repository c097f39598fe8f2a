// SPDX-License-Identifier: MIT
#include "serving/fair_places.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "base/clock.h"

namespace spillway {
namespace {

// How long somebody who left may go unnoticed.
constexpr std::chrono::milliseconds kLook{250};

}  // namespace

FairPlaces::FairPlaces(size_t n) : n_places_(n), short_(SIZE_MAX), long_(SIZE_MAX) { CHECK(n >= 2); }

FairPlaces::Turn::Turn(FairPlaces& places, const std::string& client, bool is_long)
    : places_(places), is_long_(is_long) {
  places_.enter(*this, client);
}

FairPlaces::Turn::~Turn() { places_.leave(*this); }

bool FairPlaces::Turn::wait(std::chrono::milliseconds patience) {
  const MutexLock lock(places_.mutex_);
  return has_come_ || called_.wait_for(places_.mutex_, patience, [this] { return has_come_; });
}

Result<FairPlaces::Place> FairPlaces::take(const Asker& asker, bool is_long,
                                           std::optional<std::chrono::milliseconds> patience) {
  const Stopwatch waited;
  const auto has_time = [&] { return !patience || waited.elapsed_s() * 1e3 < static_cast<double>(patience->count()); };
  auto turn = std::make_unique<Turn>(*this, asker.client, is_long);
  for (;;) {
    if (asker.has_left()) return error(Code::kCancelled, "nobody waits for it any more");
    if (turn->wait(patience ? std::min(kLook, *patience) : kLook)) return turn;
    if (!has_time()) return error(Code::kBusy, "too many others wait for the same; try again");
  }
}

// Who finds room passes nobody by: those who wait have none.
void FairPlaces::enter(Turn& turn, const std::string& client) {
  const MutexLock lock(mutex_);
  turn.has_come_ = has_room_locked(turn.is_long_);
  if (turn.has_come_)
    occupy_locked(turn.is_long_);
  else
    queue(turn.is_long_).push(client, &turn);
}

void FairPlaces::leave(Turn& turn) {
  const MutexLock lock(mutex_);
  if (!turn.has_come_) {
    queue(turn.is_long_).remove_if([&](const Turn* one) { return one == &turn; }, [](Turn*) {});
    return;
  }
  --n_taken_;
  if (turn.is_long_) --n_long_;
  const auto [next, next_is_long] = next_locked();
  if (next == nullptr) return;
  // The place is theirs from now on: who comes before they wake up finds it taken.
  occupy_locked(next_is_long);
  next->has_come_ = true;
  next->called_.notify_one();
}

std::pair<FairPlaces::Turn*, bool> FairPlaces::next_locked() {
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
