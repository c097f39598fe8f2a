// SPDX-License-Identifier: MIT
// What this machine can do, for the planner: as it was measured less than a month ago, else measured now.
// Used by the main thread. Measuring starts threads and processes of its own, and ends them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "hw/machine_profile.h"

namespace spillway {

struct ProfileRequest {
  std::string model;                 // GGUF file whose disk is meant; empty: where models or else programs are
  std::vector<std::string> workers;  // host:port of ggml-rpc-servers that shall compute too
  unsigned n_threads = 0;            // 0: the CPUs this process may use
  bool refresh = false;              // measure in any case
  std::function<bool(double fraction, const std::string& stage)> progress;  // false: stop. Not called when kept
};

struct CurrentProfile {
  MachineProfile profile;
  bool measured_now = false;
  std::string path;  // where it is kept; empty: nowhere
};

// At most 20 seconds; mostly one that was kept, with the memory that devices have free now. A profile that was kept and
// does not fit is named in a notice and replaced; one that cannot be written is kept by this process. What could not be
// measured is zero or missing, and a doubt says why.
//   NotFound, Corrupt, ...   the model can not be opened      InvalidArgument, NotFound, Io, Internal   a worker can
//   not be used Unsupported              ggml's CPU backend is missing    Cancelled   progress said so, or Ctrl-C
Result<CurrentProfile> current_profile(const ProfileRequest& request);

// Only what was kept, for the volume that holds `model`; measures nothing, so it takes milliseconds.
std::optional<MachineProfile> kept_profile_for(const std::string& model);

}  // namespace spillway
