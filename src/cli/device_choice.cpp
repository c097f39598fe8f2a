// SPDX-License-Identifier: MIT
#include "cli/device_choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/bytes.h"
#include "cli/current_profile.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"

namespace spillway {
namespace {

Result<void> check_names(const std::vector<std::string>& asked, const std::vector<std::string>& present) {
  for (const std::string& name : asked)
    if (std::find(present.begin(), present.end(), name) == present.end())
      return error(Code::kNotFound, present.empty() ? fmt::format("there is no GPU '{}' here: ggml finds none", name)
                                                    : fmt::format("there is no GPU '{}' here; there is {}", name,
                                                                  fmt::join(present, ", ")));
  return {};
}

// What was measured before; measured now where devices are waiting to be used that nobody knows.
Result<std::optional<MachineProfile>> profile_for(const RunOptions& options, bool has_devices) {
  if (options.workers.empty()) {
    auto kept = kept_profile_for(options.load.path);
    if (kept || !has_devices) return kept;
  }
  ProgressBar progress("measuring this machine, once");
  ProfileRequest request;
  request.model = options.load.path;
  request.workers = options.workers;
  request.n_threads = options.load.n_threads;
  request.progress = [&](double fraction, const std::string& stage) {
    progress.show(fraction, stage);
    return !interrupted();
  };
  ASSIGN_OR_RETURN(CurrentProfile current, current_profile(request));
  return std::optional(std::move(current.profile));
}

}  // namespace

Result<std::optional<uint64_t>> gpu_memory_of(const RunOptions& options) {
  if (options.n_gpu_layers == 0u || options.gpu_memory == "0") return uint64_t{0};
  if (options.gpu_memory.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const uint64_t bytes, parse_bytes(options.gpu_memory));
  return bytes;
}

Result<void> choose_devices(RunOptions& options) {
  LoadOptions& load = options.load;
  ASSIGN_OR_RETURN(load.gpu_memory_bytes, gpu_memory_of(options));
  const bool none = load.gpu_memory_bytes == uint64_t{0};
  std::vector<std::string> present = none ? std::vector<std::string>{} : device_names();
  if (!none) RETURN_IF_ERROR(check_names(options.device_names, present));
  const std::vector<std::string>& wanted = options.device_names.empty() ? present : options.device_names;

  // 1. Asked for by number.
  if (options.n_gpu_layers && *options.n_gpu_layers > 0) {
    if (wanted.empty() && options.workers.empty())
      return error(Code::kNotFound, "--gpu-layers: ggml finds no GPU here; leave it out or give 0");
    load.devices.names = wanted;
    load.devices.workers = options.workers;
    load.devices.n_gpu_layers = *options.n_gpu_layers;
    return {};
  }
  // 2. Chosen by the plan.
  ASSIGN_OR_RETURN(load.machine, profile_for(options, !wanted.empty()));
  load.choose_devices = !none || !options.workers.empty();
  if (load.machine)
    std::erase_if(load.machine->devices, [&](const DeviceFacts& device) {
      return std::find(wanted.begin(), wanted.end(), device.name) == wanted.end();
    });
  return {};
}

}  // namespace spillway
