// SPDX-License-Identifier: MIT
// Monotonic time in seconds, and stop-watches made of it.
#pragma once

#include <chrono>
#include <cstdint>

namespace spillway {

inline double monotonic_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds since it was made.
class Stopwatch {
 public:
  double elapsed_s() const { return monotonic_s() - start_s_; }

 private:
  double start_s_ = monotonic_s();
};

// Seconds since 1970, as the system's clock has them now: for dates that are kept, not for measuring.
inline int64_t unix_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace spillway
