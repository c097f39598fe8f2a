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
  while (running_.size() < kTogetherMax && n_begun_ < size_) {
    Call one = size_ == 1 ? std::move(call_) : call_;
    // What it takes counts until the reply ends, and those who run together have it: the others take their places.
    if (n_begun_ >= kTogetherMax) one.may_take = nullptr;
    running_.push_back({std::make_unique<AnswerRun>(manager_, answer_of(std::move(one), n_begun_)), n_begun_});
    ++n_begun_;
  }
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

// Turns come to who waits for them: the first that does so.
size_t AnswerGroup::to_wait_for() const {
  const auto found =
      std::find_if(running_.begin(), running_.end(), [](const Running& one) { return one.run->is_made_ready(); });
  return found != running_.end() ? static_cast<size_t>(found - running_.begin()) : turn_ % running_.size();
}

AnswerRun::Step AnswerGroup::step_of(size_t at, std::chrono::milliseconds patience) {
  AnswerRun::Step step = running_[at].run->step(patience);
  step.choice = step.part.choice = step.end.choice = running_[at].choice;
  if (step.kind != AnswerRun::Step::kEnd) return step;
  ++n_ended_;
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(at));
  return step;
}

}  // namespace spillway
