// SPDX-License-Identifier: MIT
// How short of memory this process's surroundings are, and a way to sleep until they get shorter. Linux: /proc,
// cgroup v1 and v2, pressure stall information (PSI).
#pragma once

#include <chrono>

#include "base/status.h"
#include "os/fd.h"
#include "os/machine.h"

namespace spillway {

struct MemoryPressure {
  MemoryState memory;
  // Time that somebody stood still for want of memory, since the machine started: in our cgroup where it counts its own
  // (v2), else on the whole machine. 0 where the kernel does not count.
  double stalled_s = 0;
};
// Some 0.2 ms. Thread-safe.
MemoryPressure memory_pressure();

// A sleep that ends early when somebody stands still for want of memory, or another thread says so.
class PressureWatch {
 public:
  //   Io   the system has no descriptor left
  static Result<PressureWatch> open();

  void wait(std::chrono::milliseconds timeout);  // one thread
  void wake() const;                             // any thread

  // Whether the kernel tells of stalls by itself; else only the clock ends a wait.
  bool hears_stalls() const { return stalls_.valid(); }

 private:
  PressureWatch() = default;
  Fd stalls_, wake_;
};

}  // namespace spillway
