// SPDX-License-Identifier: MIT
// One line on stderr that says how far a write is, redrawn at most ten times a second; silent when stderr is no
// terminal.
#pragma once

#include <cstdint>

namespace spillway::make_model {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();  // takes the line away again
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(uint64_t done_bytes, uint64_t total_bytes);

 private:
  const bool is_terminal_;
  const double start_s_;
  double drawn_s_ = 0;
};

}  // namespace spillway::make_model
