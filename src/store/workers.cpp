// SPDX-License-Identifier: MIT
#include "store/workers.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "base/bytes.h"
#include "os/machine.h"
#include "os/memory.h"

namespace spillway {

Workers::Workers(unsigned n) {
  // Where the system refuses more threads (a cgroup's pids.max), those that there are do it all.
  try {
    threads_.reserve(n);
    for (unsigned i = 0; i < n; ++i) threads_.emplace_back([this] { work(); });
  } catch (const std::exception&) {
  }
}

Workers::~Workers() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  posted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::post(std::function<void()> job) {
  if (threads_.empty()) return job();
  try {
    MutexLock lock(mu_);
    jobs_.push_back(std::move(job));
  } catch (const std::bad_alloc&) {  // there is no memory for one more: it is ours still
    return job();
  }
  posted_.notify_one();
}

void Workers::work() {
  name_thread("spillway-place");
  double counted_s = thread_cpu_s();
  for (;;) {
    std::function<void()> job;
    {
      MutexLock lock(mu_);
      while (jobs_.empty() && !stopping_) posted_.wait(mu_);
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
    const double now_s = thread_cpu_s();
    cpu_s_.fetch_add(now_s - std::exchange(counted_s, now_s));
  }
}

void populate_beside(Workers& workers, std::byte* memory, uint64_t bytes) {
  constexpr uint64_t kStepBytes = 32 * MiB;
  if (workers.count() == 0) return;  // it would be before them
  for (uint64_t at = 0; at < bytes; at += kStepBytes)
    workers.post([from = memory + at, n = std::min(kStepBytes, bytes - at)] { populate_huge_pages(from, n); });
}

}  // namespace spillway
