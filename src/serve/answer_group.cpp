// SPDX-License-Identifier: MIT
#include "serve/answer_group.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace spillway {
namespace {

// While several run, each gets so long a turn.
constexpr std::chrono::milliseconds kPoll{5};

}  // namespace

AnswerGroup::AnswerGroup(ModelManager& manager, Call call)
    : manager_(manager), size_(n_answers(call)), call_(std::move(call)) {}

AnswerRun::Step AnswerGroup::step(std::chrono::milliseconds patience) {
  while (running_.size() < n_together_ && (!put_off_.empty() || n_begun_ < size_)) begin_next();
  if (running_.size() == 1) return step_of(0, patience);
  const Stopwatch waited;
  const auto has_time = [&] { return waited.elapsed_s() < std::chrono::duration<double>(patience).count(); };
  do {
    for (size_t i = 0; i < running_.size(); ++i) {
      AnswerRun::Step step = step_of((turn_ + i) % running_.size(), std::chrono::milliseconds(0));
      const bool is_waiting = step.kind == AnswerRun::Step::kWaiting && !step.counted;
      // One that is made ready may have taken a second for it.
      if (is_waiting && has_time()) continue;
      ++turn_;
      return step;
    }
    // Whatever comes first of this one is not waited for longer than the others bear.
    AnswerRun::Step step = step_of(to_wait_for(), kPoll);
    if (step.kind != AnswerRun::Step::kWaiting || step.counted) return step;
  } while (has_time());
  return {};
}

void AnswerGroup::begin_next() {
  size_t choice = n_begun_;
  if (put_off_.empty()) {
    ++n_begun_;
  } else {
    choice = put_off_.front();
    put_off_.pop_front();
  }
  Call one = size_ == 1 ? std::move(call_) : call_;
  // What it takes counts until the reply ends, and those who run together have it: the others take their places.
  if (n_ended_ > 0) one.may_take = nullptr;
  running_.push_back({std::make_unique<AnswerRun>(manager_, answer_of(std::move(one), choice)), choice});
}

// Turns come to who waits for them: the first that does so.
size_t AnswerGroup::to_wait_for() const {
  const auto found =
      std::find_if(running_.begin(), running_.end(), [](const Running& one) { return one.run->is_made_ready(); });
  return found != running_.end() ? static_cast<size_t>(found - running_.begin()) : turn_ % running_.size();
}

AnswerRun::Step AnswerGroup::step_of(size_t at, std::chrono::milliseconds patience) {
  AnswerRun::Step step = running_[at].run->step(patience);
  Running& one = running_[at];
  step.choice = step.part.choice = step.end.choice = one.choice;
  if (is_put_off(one, step)) {
    put_off_.push_back(one.choice);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(at));
    n_together_ = running_.size();
    return {};
  }
  one.is_told = one.is_told || step.counted || step.kind == AnswerRun::Step::kPart;
  if (step.kind != AnswerRun::Step::kEnd) return step;
  ++n_ended_;
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(at));
  return step;
}

// A queue that is shorter than the group has room for it when another of the group has ended.
bool AnswerGroup::is_put_off(const Running& one, const AnswerRun::Step& step) const {
  return step.kind == AnswerRun::Step::kFailure && step.failure->code() == Code::kBusy && !one.is_told &&
         running_.size() > 1;
}

}  // namespace spillway
