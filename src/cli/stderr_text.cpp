// SPDX-License-Identifier: MIT
#include "cli/stderr_text.h"

#include <cstdio>

namespace spillway {

bool print_to_stderr(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stderr) == text.size() && std::fflush(stderr) == 0;
}

}  // namespace spillway
