// SPDX-License-Identifier: MIT
#include "cli/unwritten_profiles.h"

#include "hw/profile_store.h"

namespace spillway {

void UnwrittenProfiles::keep(const MachineIdentity& identity, const MachineProfile& profile) {
  const MutexLock lock(mutex_);
  kept_.insert_or_assign(fingerprint_of(identity), profile);
}

std::optional<MachineProfile> UnwrittenProfiles::find(const MachineIdentity& identity, int64_t now_unix_s) const {
  const MutexLock lock(mutex_);
  const auto found = kept_.find(fingerprint_of(identity));
  if (found == kept_.end() || now_unix_s - found->second.measured_unix_s > kProfileAgeMax_s) return std::nullopt;
  return found->second;
}

}  // namespace spillway
