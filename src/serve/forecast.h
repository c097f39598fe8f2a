// SPDX-License-Identifier: MIT
// What running a model will be like, for who asks before it is loaded. Plain values; the program's planner fills them
// in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"

namespace spillway {

struct Forecast {
  std::string mode, why;  // as of a placement: "resident", "stream", "mmap"
  double tok_per_s = 0;   // 0: not predicted
  double load_s = 0;
  double bytes_read_per_token = 0;
  uint64_t weights_bytes = 0;
  uint64_t memory_bytes = 0;  // the budget
};

struct ForecastRequest {
  std::string path;
  uint32_t n_ctx = 0;        // of each request
  bool may_measure = false;  // half a second of processor and disk, which answers under way meanwhile feel
  std::vector<std::string> adapter_paths = {};  // LoRA
  std::string projector_path = {};              // empty: none
};

//   OutOfBudget   it does not fit at all; the message says how much would do
//   Busy          nothing is known of this machine, and this is no time to measure it
//   errors of open_gguf_model
using Forecaster = std::function<Result<Forecast>(const ForecastRequest&)>;

}  // namespace spillway
