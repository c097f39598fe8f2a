// SPDX-License-Identifier: MIT
// errno of a call that writes, as a Status in one line.
#pragma once

#include <string>

#include "base/status.h"

namespace spillway {

//   PermissionDenied  DiskFull  Io
Failure write_error(const std::string& path, const char* what, int number);

}  // namespace spillway
