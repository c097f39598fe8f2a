// SPDX-License-Identifier: MIT
// Names for requests, answers and calls. Any thread.
#pragma once

#include <cstddef>
#include <string>

namespace spillway {

// A prefix and `length` random characters of 0-9a-z.
std::string random_id(const std::string& prefix, size_t length);

}  // namespace spillway
