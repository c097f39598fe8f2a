// SPDX-License-Identifier: MIT
#include "serve/answer_group.h"

#include <algorithm>

namespace spillway {
namespace {

constexpr size_t kRunningMax = 16;
// While several run, each gets so long a turn.
constexpr std::chrono::milliseconds kPoll{5};

}  // namespace

AnswerGroup::AnswerGroup(ModelManager& manager, Call call) : manager_(manager), call_(std::move(call)) {}

AnswerRun::Step AnswerGroup::step(std::chrono::milliseconds patience) {
  while (running_.size() < kRunningMax && n_begun_ < size()) {
    running_.push_back({std::make_unique<AnswerRun>(manager_, answer_of(call_, n_begun_)), n_begun_});
    ++n_begun_;
  }
  if (running_.size() == 1) return step_of(0, patience);
  for (auto waited = std::chrono::milliseconds(0); waited <= patience; waited += kPoll) {
    for (size_t i = 0; i < running_.size(); ++i) {
      AnswerRun::Step step = step_of((turn_ + i) % running_.size(), std::chrono::milliseconds(0));
      if (step.kind == AnswerRun::Step::kWaiting && !step.counted) continue;
      ++turn_;
      return step;
    }
    // Whatever comes first of this one is not waited for longer than the others bear.
    AnswerRun::Step step = step_of(turn_ % running_.size(), kPoll);
    if (step.kind != AnswerRun::Step::kWaiting || step.counted) return step;
  }
  return {};
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
