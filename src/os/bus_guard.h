// SPDX-License-Identifier: MIT
// A mapped file that shrinks kills a process that touches the lost part (SIGBUS). While a guard lives, such a touch
// inside its ranges reads zeros instead and is counted, so that the request can fail with an error and the program
// lives on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"

namespace spillway {

struct AddressRange {
  std::byte* begin = nullptr;
  uint64_t bytes = 0;
};

// Several may live at once, of kRangesMax ranges in all. Installs a process-wide SIGBUS handler on first use; faults
// outside the ranges go to the handler that was there before.
class BusGuard {
 public:
  static constexpr size_t kRangesMax = 8192;

  //   Busy   other guards leave no room for so many
  static Result<std::unique_ptr<BusGuard>> over(const std::vector<AddressRange>& ranges);
  ~BusGuard();
  BusGuard(const BusGuard&) = delete;
  BusGuard& operator=(const BusGuard&) = delete;

  // Touches of lost pages in any guarded range since the program started. Once it has grown, nothing computed since
  // then may be used.
  static uint64_t lost_touches();

 private:
  BusGuard() = default;

  std::vector<size_t> places_;  // of the handler's table
};

}  // namespace spillway
