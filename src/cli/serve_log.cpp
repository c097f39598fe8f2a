// SPDX-License-Identifier: MIT
#include "cli/serve_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"

namespace spillway {

std::string log_line(std::string_view sentence) {
  std::string line = printable(sentence);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

std::string log_line(const WebRequest& request, int status, double seconds) {
  return fmt::format("{} {} {} {} {:.3f} s", request.remote, shortened(request.method), shortened(request.path), status,
                     seconds);
}

}  // namespace spillway
