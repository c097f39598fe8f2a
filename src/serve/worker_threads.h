// SPDX-License-Identifier: MIT
// Threads for requests that are being answered: as many as there are such requests, up to a bound. One that has nothing
// to do for a while ends.
//
// Threads: submit() by any.
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <thread>

#include "base/mutex.h"

namespace spillway {

class WorkerThreads {
 public:
  explicit WorkerThreads(size_t n_max) : n_max_(n_max) {}
  ~WorkerThreads() { stop(); }
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  // false: all are busy, or the system has no thread to give, or stop() was called; `work` is not done. It should not
  // throw: what it throws ends nothing but itself, and is a notice.
  bool submit(std::function<void()> work) EXCLUDES(mutex_);

  // Waits until everything that was submitted is done; nothing is taken any more.
  void stop() EXCLUDES(mutex_);

 private:
  bool start_one() REQUIRES(mutex_);
  void run() EXCLUDES(mutex_);

  const size_t n_max_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> waiting_ GUARDED_BY(mutex_);  // never more than there are idle threads
  std::list<std::jthread> threads_ GUARDED_BY(mutex_);
  std::list<std::jthread> ended_ GUARDED_BY(mutex_);  // to be joined: by whoever takes them from here, whatever happens
  size_t n_idle_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace spillway
