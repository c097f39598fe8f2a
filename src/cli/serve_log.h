// SPDX-License-Identifier: MIT
// Lines of a server's log. What is in them anybody may have sent: a path with a line break in it would write a second
// line, and one with an escape would be obeyed by the terminal that shows the log. Pure.
#pragma once

#include <string>
#include <string_view>

#include "serve/web.h"

namespace spillway {

// `sentence` on one line, with "?" for control characters.
std::string log_line(std::string_view sentence);

// "127.0.0.1 GET /api/tags 200 0.001 s"; long paths are cut.
std::string log_line(const WebRequest& request, int status, double seconds);

}  // namespace spillway
