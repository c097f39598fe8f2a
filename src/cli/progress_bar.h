// SPDX-License-Identifier: MIT
// One line on stderr that shows how far something slow is, and is gone when it is done. Silent where stderr is no
// terminal, and for what turns out to be quick.
#pragma once

#include <string>

#include "base/clock.h"

namespace spillway {

class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void show(double fraction, const std::string& note = "");
  void clear();  // a later show() draws it again

 private:
  const std::string label_;
  const bool enabled_;
  const Stopwatch since_start_;
  double drawn_s_ = -1;  // when, since the start
  bool visible_ = false;
};

// For what is written to stderr by who knows nothing of bars: it begins at the begin of the line. Thread-safe, throws
// nothing; the bar's next show() draws it again.
void take_bar_off_stderr();

}  // namespace spillway
