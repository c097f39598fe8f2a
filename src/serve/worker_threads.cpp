// SPDX-License-Identifier: MIT
#include "serve/worker_threads.h"

#include <system_error>
#include <utility>

#include "base/clock.h"

namespace spillway {
namespace {

constexpr double kIdle_s = 20;

}  // namespace

bool WorkerThreads::submit(std::function<void()> work) {
  std::vector<std::thread> ended;
  {
    const MutexLock lock(mutex_);
    ended.swap(ended_);
    if (stopping_) return false;
    if (waiting_.size() >= n_idle_) {
      if (threads_.size() >= n_max_) return false;
      try {
        // It waits for the mutex, so it finds itself in the list.
        std::thread thread([this] { run(); });
        threads_.emplace(thread.get_id(), std::move(thread));
      } catch (const std::system_error&) {
        return false;
      }
      ++n_idle_;
    }
    waiting_.push_back(std::move(work));
  }
  changed_.notify_one();
  join(std::move(ended));
  return true;
}

void WorkerThreads::stop() {
  std::vector<std::thread> ended;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    while (!threads_.empty()) changed_.wait(mutex_);
    ended.swap(ended_);
  }
  join(std::move(ended));
}

void WorkerThreads::join(std::vector<std::thread> ended) {
  for (std::thread& thread : ended) thread.join();
}

void WorkerThreads::run() {
  for (;;) {
    std::function<void()> work;
    {
      const MutexLock lock(mutex_);
      const Stopwatch idle;
      while (waiting_.empty() && !stopping_ && idle.elapsed_s() < kIdle_s)
        changed_.wait_for(mutex_, std::chrono::milliseconds(1000));
      --n_idle_;
      if (waiting_.empty()) {
        const auto self = threads_.find(std::this_thread::get_id());
        ended_.push_back(std::move(self->second));
        threads_.erase(self);
        changed_.notify_all();
        return;
      }
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
    work = nullptr;  // what it holds goes before the next is waited for
    const MutexLock lock(mutex_);
    ++n_idle_;
  }
}

}  // namespace spillway
