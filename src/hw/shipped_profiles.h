// SPDX-License-Identifier: MIT
// Profiles of well-known machines, for plans on a machine that one does not have: the files of profiles/, part of the
// program. Their figures come from public specifications and tables; each profile names its source, and says what is
// estimated.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hw/machine_profile.h"

namespace spillway {

std::vector<std::string> shipped_profile_names();  // in order of the alphabet

//   NotFound   there is none of that name; the message lists them
Result<MachineProfile> shipped_profile(std::string_view name);

}  // namespace spillway
