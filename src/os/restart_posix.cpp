// SPDX-License-Identifier: MIT
#include "os/restart.h"

#include <unistd.h>

#include <cstdlib>

#include "os/own_program.h"

namespace spillway {

void restart_with(const char* name, const char* value, char** argv) {
  // A marker besides the variable itself, so that a system that drops one of them cannot make this a loop.
  if (std::getenv(name) != nullptr || std::getenv("SPILLWAY_RESTARTED") != nullptr) return;
  ::setenv(name, value, 1);
  ::setenv("SPILLWAY_RESTARTED", "1", 1);
#if defined(__linux__)
  ::execv(own_program().c_str(), argv);
#else
  (void)argv;
#endif
}

}  // namespace spillway
