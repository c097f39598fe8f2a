// SPDX-License-Identifier: MIT
#include "plan/budget_control.h"

#include <algorithm>

#include "base/saturating_sub.h"
#include "plan/tuning.h"

namespace spillway {

BudgetControl::BudgetControl(uint64_t asked_bytes, uint64_t least_bytes)
    : asked_bytes_(std::max(asked_bytes, least_bytes)), least_bytes_(least_bytes), bytes_(asked_bytes_) {}

void BudgetControl::set_asked(uint64_t asked_bytes) {
  asked_bytes_ = std::max(asked_bytes, least_bytes_);
  bytes_ = asked_bytes_;  // the next sample takes back what is not there
}

// How fast others take memory: the steepest loss since any of the last samples. Between two that follow closely it may
// be too small to tell from noise.
double BudgetControl::loss_bytes_per_s(const Seen& now) const {
  double steepest = 0;
  const size_t n = std::min(n_seen_, seen_.size());
  for (size_t back = 1; back <= n; ++back) {
    const Seen& then = seen_[(n_seen_ - back) % seen_.size()];
    if (back > 1 && now.at_s - then.at_s > kLossWindow_s) break;
    const uint64_t lost_bytes = saturating_sub(then.room_bytes, now.room_bytes);
    if (lost_bytes < kLossBytesMin) continue;
    steepest = std::max(steepest, static_cast<double>(lost_bytes) / std::max(now.at_s - then.at_s, 1e-3));
  }
  return steepest;
}

void BudgetControl::observe(const BudgetSample& sample) {
  // 1. What we could have if nobody else took any more. Taking some of it ourselves does not change it.
  const uint64_t room_bytes = sample.available_bytes + sample.held_bytes;
  const auto share_bytes = static_cast<uint64_t>(kReserveShare * static_cast<double>(sample.limit_bytes));
  const uint64_t step_bytes = std::clamp(share_bytes, kReserveBytesMin, kReserveBytesMax);
  uint64_t reserve_bytes = step_bytes;
  const Seen now{.at_s = sample.now_s, .room_bytes = room_bytes};
  if (n_seen_ > 0) {
    const double passed_s = std::max(now.at_s - seen_[(n_seen_ - 1) % seen_.size()].at_s, 1e-3);
    // 2. Somebody is taking memory: he goes on while we make room.
    reserve_bytes += static_cast<uint64_t>(loss_bytes_per_s(now) * kLossAhead_s);
    // 3. The kernel reclaims already, and for us or for somebody who shares the limit, not elsewhere.
    const double stalled = (sample.stalled_s - last_stalled_s_) / passed_s;
    if (stalled > kStalledShare && sample.available_bytes < 4 * step_bytes) reserve_bytes += 2 * step_bytes;
  } else {
    calm_since_s_ = grown_s_ = sample.now_s;
  }
  seen_[n_seen_++ % seen_.size()] = now;
  last_stalled_s_ = sample.stalled_s;

  // 4. Less at once, and some more than needed, so that not every MiB makes us move.
  if (saturating_sub(room_bytes, reserve_bytes) < bytes_) {
    const uint64_t before_bytes = bytes_;
    bytes_ = std::clamp(saturating_sub(room_bytes, reserve_bytes + step_bytes), least_bytes_, before_bytes);
    if (bytes_ < before_bytes && !pressed_) ++shrinks_;
    pressed_ = true;
    calm_since_s_ = sample.now_s;
  } else {
    pressed_ = false;
    // 5. More after a while, a part of it at a time, and not up to where the next MiB would take it back.
    const uint64_t possible_bytes = std::min(asked_bytes_, saturating_sub(room_bytes, reserve_bytes + 2 * step_bytes));
    const bool calm = sample.now_s - calm_since_s_ >= kCalm_s && sample.now_s - grown_s_ >= kGrowEvery_s;
    if (calm && possible_bytes > bytes_ && (possible_bytes == asked_bytes_ || possible_bytes - bytes_ >= step_bytes)) {
      bytes_ += std::min(possible_bytes - bytes_, std::max((possible_bytes - bytes_) / 4, 2 * step_bytes));
      grown_s_ = sample.now_s;
      ++growths_;
    }
  }

  // 6. Too little for too long?
  if (saturating_sub(room_bytes, step_bytes) >= least_bytes_)
    lacking_since_s_ = -1;
  else if (lacking_since_s_ < 0)
    lacking_since_s_ = sample.now_s;
  short_ = lacking_since_s_ >= 0 && sample.now_s - lacking_since_s_ >= kShortAfter_s;
}

}  // namespace spillway
