// SPDX-License-Identifier: MIT
// Profiles of this machine that could not be written (a home folder that nobody may write, a full disk), for as long as
// the process lives: a server would else measure for each load, for many seconds and beside its own answers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "hw/fingerprint.h"
#include "hw/machine_profile.h"

namespace spillway {

// Thread-safe.
class UnwrittenProfiles {
 public:
  // In place of an earlier one of the same machine.
  void keep(const MachineIdentity& identity, const MachineProfile& profile);

  // What was kept, unless it is as old at `now_unix_s` as a written one may not be.
  std::optional<MachineProfile> find(const MachineIdentity& identity, int64_t now_unix_s) const;

 private:
  mutable Mutex mutex_;
  std::map<std::string, MachineProfile> kept_ GUARDED_BY(mutex_);  // by fingerprint
};

}  // namespace spillway
