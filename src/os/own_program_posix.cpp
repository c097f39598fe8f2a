// SPDX-License-Identifier: MIT
#include <cstdlib>

#include "os/own_program.h"
#if defined(__linux__)
#include <sys/prctl.h>
#endif

namespace spillway {
namespace {

const char* launcher() {
  const char* path = std::getenv("SPILLWAY_LAUNCHER");
  return path != nullptr && path[0] != '\0' ? path : nullptr;
}

}  // namespace

std::string own_program() {
  const char* path = launcher();
  return path != nullptr ? path : "/proc/self/exe";
}

void take_own_name() {
#if defined(__linux__)
  if (launcher() != nullptr) ::prctl(PR_SET_NAME, "spillway");
#endif
}

}  // namespace spillway
