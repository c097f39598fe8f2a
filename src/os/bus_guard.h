// SPDX-License-Identifier: MIT
// A mapped file that shrinks kills a process that touches the lost part (SIGBUS). While a guard lives, such a touch
// inside its ranges reads zeros instead and is counted, so that the request can fail with an error and the program
// lives on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spillway {

struct AddressRange {
  std::byte* begin = nullptr;
  uint64_t bytes = 0;
};

// Several may live at once (at most 4096 ranges in all, CHECK: more files than a process may have open). Installs a
// process-wide SIGBUS handler on first use; faults outside the ranges go to the handler that was there before.
class BusGuard {
 public:
  explicit BusGuard(std::vector<AddressRange> ranges);
  ~BusGuard();
  BusGuard(const BusGuard&) = delete;
  BusGuard& operator=(const BusGuard&) = delete;

  // Touches of lost pages in any guarded range since the program started. Once it has grown, nothing computed since
  // then may be used.
  static uint64_t lost_touches();

 private:
  const std::vector<AddressRange> ranges_;
};

}  // namespace spillway
