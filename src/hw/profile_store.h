// SPDX-License-Identifier: MIT
// Keeps measured profiles in the user's cache folder, one for each volume and number of threads, replaced as a whole.
// Measuring takes seconds and holds for weeks; a profile that is old, damaged or of another machine is not used, and
// why is said.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "hw/fingerprint.h"
#include "hw/machine_profile.h"

namespace spillway {

inline constexpr int64_t kProfileAgeMax_s = int64_t{30} * 24 * 3600;

// Where the profile of such a machine is kept; empty when the user has no cache folder.
std::string profile_path(const MachineIdentity& identity);

// The profile that was kept, if it is of this machine and fresh at `now_unix_s`.
//   NotFound   none was kept              Corrupt, Unsupported   the file is damaged or of a later program
//   Changed    it is of another machine, or old: the message says which, with the date
Result<MachineProfile> load_profile(const MachineIdentity& identity, int64_t now_unix_s);

// Keeps `profile`, whose fingerprint is that of `identity`. Without a cache folder nothing is kept.
//   PermissionDenied  Io
Result<void> save_profile(const MachineIdentity& identity, const MachineProfile& profile);

// "2026-03-31", in UTC.
std::string date_of(int64_t unix_s);

}  // namespace spillway
