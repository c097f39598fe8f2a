// SPDX-License-Identifier: MIT
// Writes the large model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "inflate/growth.h"
#include "inflate/small_model.h"

namespace spillway::inflate {

struct Output {
  std::string path;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_progress;  // may be empty
  std::function<bool()> is_cancelled;                                          // may be empty
};

struct Written {
  uint64_t bytes = 0, expert_bytes = 0;
  int64_t tensors = 0, parameters = 0;
  double write_s = 0;
};

// Everything that Written tells before the file is written.
Written describe(const SmallModel& small, const Growth& growth);

// Fails where the disk lacks the room, before anything is written, or a write fails; then there is no file of that
// name, nor a part of one. What was at the path stays until the new file is whole.
Expected<Written> write_inflated(const SmallModel& small, const Growth& growth, uint64_t seed, const Output& output);

}  // namespace spillway::inflate
