// SPDX-License-Identifier: MIT
#include "serve/worker_threads.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "serve/last_words.h"

namespace spillway {
namespace {

constexpr double kIdle_s = 20;
constexpr const char* kWhere = "a request's thread";

// Nobody is above it who could catch: the process would end.
void do_it(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& e) {
    notice_if_possible(kWhere, e.what());
  } catch (...) {
    notice_if_possible(kWhere, "what is no exception was thrown");
  }
}

}  // namespace

bool WorkerThreads::submit(std::function<void()> work) {
  std::list<std::jthread> ended;  // joined at the end, without the lock
  {
    const MutexLock lock(mutex_);
    ended.swap(ended_);
    if (stopping_ || (waiting_.size() >= n_idle_ && !start_one())) return false;
    waiting_.push_back(std::move(work));
  }
  changed_.notify_one();
  return true;
}

// Its place first: a thread that nobody has would end the process.
bool WorkerThreads::start_one() {
  if (threads_.size() >= n_max_) return false;
  threads_.emplace_back();
  try {
    // It waits for the mutex, so it finds itself in the list.
    threads_.back() = std::jthread([this] { run(); });
  } catch (const std::exception&) {
    threads_.pop_back();
    return false;
  }
  ++n_idle_;
  return true;
}

void WorkerThreads::stop() {
  std::list<std::jthread> ended;
  const MutexLock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  while (!threads_.empty()) changed_.wait(mutex_);
  ended.swap(ended_);
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
        const auto self = std::find_if(threads_.begin(), threads_.end(), [](const std::jthread& thread) {
          return thread.get_id() == std::this_thread::get_id();
        });
        ended_.splice(ended_.end(), threads_, self);
        changed_.notify_all();
        return;
      }
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    do_it(work);
    work = nullptr;  // what it holds goes before the next is waited for
    const MutexLock lock(mutex_);
    ++n_idle_;
  }
}

}  // namespace spillway
