// SPDX-License-Identifier: MIT
// A pull, shown on a terminal as it goes on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "cli/progress_bar.h"
#include "fetch/pull.h"

namespace spillway {

// One bar per file, with the speed since it began.
class PullBar {
 public:
  void show(const PullProgress& one);
  void clear() { bar_.reset(); }

 private:
  std::string status_;
  std::optional<ProgressBar> bar_;
  Stopwatch watch_;
  uint64_t first_bytes_ = 0;
};

}  // namespace spillway
