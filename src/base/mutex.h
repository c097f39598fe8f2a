// SPDX-License-Identifier: MIT
// std::mutex and std::condition_variable with clang's thread-safety annotations, so that the compiler checks who holds
// what (-Wthread-safety). libstdc++'s own are not annotated.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#if defined(__clang__)
#define SPILLWAY_ANNOTATION(x) __attribute__((x))
#else
#define SPILLWAY_ANNOTATION(x)
#endif
#define GUARDED_BY(x) SPILLWAY_ANNOTATION(guarded_by(x))
#define REQUIRES(...) SPILLWAY_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) SPILLWAY_ANNOTATION(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS SPILLWAY_ANNOTATION(no_thread_safety_analysis)

namespace spillway {

class SPILLWAY_ANNOTATION(capability("mutex")) Mutex {
 public:
  void lock() SPILLWAY_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() SPILLWAY_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class SPILLWAY_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) SPILLWAY_ANNOTATION(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() SPILLWAY_ANNOTATION(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// The caller holds the mutex. Where no condition is given the caller loops over its own: wakes may be spurious.
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  void wait_for(Mutex& mutex, std::chrono::milliseconds timeout) REQUIRES(mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait_for(lock, timeout);
    lock.release();
  }
  // Until `condition` holds, or for `timeout` at the longest; says whether it holds. It is asked with the mutex held.
  template <typename Condition>
  bool wait_for(Mutex& mutex, std::chrono::milliseconds timeout, Condition condition)
      REQUIRES(mutex) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool holds = condition_.wait_for(lock, timeout, std::move(condition));
    lock.release();
    return holds;
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace spillway
