// SPDX-License-Identifier: MIT
// How short of memory this process's surroundings are, and a way to sleep until they get shorter. Linux: /proc,
// cgroup v1 and v2, pressure stall information (PSI).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

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

// Where the memory of this process is counted.
struct MemoryPlaces {
  struct Level {
    bool v2 = false;
    std::string folder;
    friend bool operator==(const Level&, const Level&) = default;
  };
  std::vector<Level> levels = {};  // our cgroup and those above it that can set a limit
  // The file that tells how long this process's surroundings stood still for want of memory: our v2 cgroup's, else the
  // machine's.
  std::string pressure_path = {};
};

// Samples of the memory, and a sleep in between that ends early when somebody stands still for want of memory, or
// another thread says so.
class PressureWatch {
 public:
  //   Io   the system has no descriptor left
  static Result<PressureWatch> open();

  // As it is now; a process that is moved to another cgroup is noticed within a second. Below 0.1 ms once places are
  // known. While the system opens no file it is as it last was. One thread.
  MemoryPressure take_sample();

  // Whether the memory that a cgroup with a limit has taken, ours or one above, grew by so much since the last sample.
  // Some microseconds. The same thread.
  bool has_risen(uint64_t bytes) const;

  bool wait(std::chrono::milliseconds timeout);  // one thread; false: nobody ended it
  void wake() const;                             // any thread

  // Whether the kernel tells of stalls by itself; else only the clock ends a wait.
  bool hears_stalls() const { return stalls_.valid(); }

 private:
  PressureWatch() = default;
  Fd stalls_, wake_;
  struct Usage {
    Fd file;
    uint64_t bytes = 0;  // at the last sample
  };
  void find_places();
  static uint64_t used_bytes(const Usage& usage);

  std::vector<Usage> usages_;  // of the places that have a limit
  // Finding them takes as long as reading all that they tell (82 of 170 us in a v1 cgroup), and they rarely change.
  MemoryPlaces places_;
  double places_found_s_ = 0;
  std::optional<MemoryPressure> last_;
};

}  // namespace spillway
