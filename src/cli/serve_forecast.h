// SPDX-License-Identifier: MIT
// Forecasts for the models of a server, as `spillway plan` makes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/cache_format.h"
#include "plan/placement.h"
#include "serve/forecast.h"

namespace spillway {

struct ForecastOptions {
  uint64_t ram_bytes = 0;    // budget of the process; 0: what is free, less headroom
  uint32_t n_parallel = 1;   // requests at once, each with a context of its own
  std::optional<Mode> mode;  // forced
  Kernels kernels = Kernels::kAuto;
  CacheFormat cache = {};
  bool cache_is_optional = false;  // see LoadOptions
  bool swa_full = false;           // too
  uint32_t n_ubatch = 0;           // 0: chosen
  // GPUs, as loads have them: see gpu_memory_of(); those named, or all.
  std::optional<uint64_t> gpu_memory_bytes = {};
  std::vector<std::string> device_names = {};
};

// Thread-safe. Measures a machine of which no profile is kept once for each model file, and remembers it.
Forecaster make_forecaster(const ForecastOptions& options);

}  // namespace spillway
