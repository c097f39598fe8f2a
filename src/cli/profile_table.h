// SPDX-License-Identifier: MIT
// A machine profile for people.
#pragma once

#include <cstdint>
#include <string>

#include "cli/current_profile.h"

namespace spillway {

// Lines, without a newline after the last one. What was not measured is shown as "-".
std::string profile_table(const CurrentProfile& current, int64_t now_unix_s);

}  // namespace spillway
