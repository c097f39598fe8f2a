// SPDX-License-Identifier: MIT
// Threads that put weights in place beside the one that reads: they repack, copy, and take memory from the system.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace spillway {

// Thread-safe. Destroyed, it finishes what was posted. Its users see to it that the queue stays short.
class Workers {
 public:
  explicit Workers(unsigned n);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  unsigned count() const { return static_cast<unsigned>(threads_.size()); }
  // Without threads, or memory for it to wait in, the job is done at once, by the caller. It throws nothing.
  void post(std::function<void()> job) EXCLUDES(mu_);
  // CPU time of all of them so far.
  double cpu_s() const { return cpu_s_; }

 private:
  void work();

  Mutex mu_;
  CondVar posted_;
  std::deque<std::function<void()>> jobs_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::atomic<double> cpu_s_{0};
  std::vector<std::thread> threads_;  // last: they use everything above
};

// Has workers take new memory from the system, in steps, so that its pages are cleared beside the reads that go there.
void populate_beside(Workers& workers, std::byte* memory, uint64_t bytes);

}  // namespace spillway
