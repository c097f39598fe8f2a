// SPDX-License-Identifier: MIT
// Errors that no protocol's own code makes (no key, a body too large, a handler that failed), in the shape that the
// clients of a path expect. Pure.
#pragma once

#include <string>

namespace spillway {

std::string error_body(const std::string& path, int http_status, const std::string& message);

}  // namespace spillway
