// SPDX-License-Identifier: MIT
// How fast reads come while their queue is full. Streaming keeps it full; a measurement of 30 ms spends a tenth of its
// time on filling and emptying it.
#pragma once

#include <cstddef>

namespace spillway {

class FullQueue {
 public:
  // `reads` came together, `at_s` after the clock's start, and as many were started. Not called any more when there is
  // nothing left to start.
  void add(size_t reads, double at_s) {
    if (first_s_ < 0) {
      first_s_ = at_s;  // these took the time before the first one, too
    } else {
      reads_ += reads;
    }
    last_s_ = at_s;
  }

  // Those whose time is known: all but the first.
  size_t reads() const { return last_s_ > first_s_ ? reads_ : 0; }
  double reads_per_s() const { return reads() == 0 ? 0 : static_cast<double>(reads_) / (last_s_ - first_s_); }

 private:
  double first_s_ = -1, last_s_ = -1;
  size_t reads_ = 0;
};

}  // namespace spillway
