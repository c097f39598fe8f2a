// SPDX-License-Identifier: MIT
// Which kernels multiply with weights on the host. Plain ones take them as the file has them; repacked ones take forms
// that ggml makes of them, which is llama.cpp's default. Their results differ in the last bits, so that greedy text
// differs after a while: the choice belongs to model and machine, never to what happens to be free. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

enum class Kernels : uint8_t { kAuto, kPlain, kRepacked };
const char* kernels_name(Kernels kernels);  // "auto", "plain", "repacked"
std::optional<Kernels> kernels_by_name(std::string_view name);

struct KernelQuestion {
  Kernels wanted = Kernels::kAuto;
  uint64_t weight_bytes = 0;  // of the whole model
  uint64_t memory_bytes = 0;  // of the machine or its cgroup, or the budget that was given: not what is free now
  unsigned n_cores = 1;
  bool in_page_cache = false;  // as asked for by name
  bool on_devices = false;     // some layers
};

// kPlain or kRepacked. Repacked where the weights fit, since then they are repacked once; and where there are cores
// enough to repack while reading. Plain for what streams on few cores (one repacks 2.4 GB of q4_K a second, less than
// such disks give), for what is left to the page cache, and beside devices.
//   InvalidArgument   repacked was asked for, of weights that are left to the page cache or beside devices
Result<Kernels> choose_kernels(const KernelQuestion& question);

}  // namespace spillway
