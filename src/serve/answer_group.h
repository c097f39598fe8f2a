// SPDX-License-Identifier: MIT
// The answers to one request that asks for several: to a list of prompts, or several to each. They are computed
// together, as far as the model has slots; so many run at once that the queue stays open to others. One that finds it
// full begins when another of them has ended.
//
// Threads: one, that of the request.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "serve/answer.h"

namespace spillway {

class AnswerGroup {
 public:
  // answer_of(call, 0), and so on.
  AnswerGroup(ModelManager& manager, Call call);

  // What comes next of any of them, with its number in `choice`, or kWaiting after about `patience`. A kEnd for each;
  // a kFailure of one is the failure of all.
  AnswerRun::Step step(std::chrono::milliseconds patience);

  // What the one that is waited for first waits for; before the first part of the answer.
  CallProgress progress() const { return running_.empty() ? CallProgress() : running_.front().run->progress(); }

  // Each has ended.
  bool done() const { return n_ended_ == size_; }
  size_t size() const { return size_; }

  // So many are under way at once, each with a copy of its call.
  static constexpr size_t kTogetherMax = 16;

 private:
  struct Running {
    std::unique_ptr<AnswerRun> run;
    size_t choice = 0;
    bool is_told = false;  // something of it came
  };
  void begin_next();
  AnswerRun::Step step_of(size_t at, std::chrono::milliseconds patience);
  size_t to_wait_for() const;
  bool is_put_off(const Running& one, const AnswerRun::Step& step) const;

  ModelManager& manager_;
  const size_t size_;
  Call call_;  // of one answer alone it is that one's, as soon as it begins
  std::vector<Running> running_;
  std::deque<size_t> put_off_;        // choices that found no room; they begin before others
  size_t n_together_ = kTogetherMax;  // as many as have found room
  size_t n_begun_ = 0, n_ended_ = 0, turn_ = 0;
};

}  // namespace spillway
