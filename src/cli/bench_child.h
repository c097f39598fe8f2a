// SPDX-License-Identifier: MIT
// A child process whose output is collected while it runs, in a memory cgroup if one is given. Used by the main thread.
// Other threads do not matter: between fork and exec the child only makes calls that signal handlers may make.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "os/cgroup.h"

namespace spillway {

struct ChildCommand {
  std::string program;                   // path
  std::vector<std::string> arguments;    // without argv[0]
  std::string folder;                    // to run in; empty: ours
  std::vector<std::string> unset;        // environment variables that it does not inherit
  double timeout_s = 0;                  // made to stop after that long; 0: never
  const MemoryCgroup* cgroup = nullptr;  // joined before exec, so that everything of the program is charged to it
};

struct ChildOutcome {
  int exit_code = -1;  // -1: ended by `signal`
  int signal = 0;
  bool timed_out = false;
  std::string output, errors;  // standard output, and the end of standard error
  uint64_t rss_bytes_max = 0;
  double wall_s = 0;
};

// Runs it to its end. `on_tick` is called about five times a second. At Ctrl-C the child is asked to stop, then made
// to; it is always waited for, so that its cgroup can be removed.
//   NotFound           there is no such program        PermissionDenied   it may not be run, or not join the cgroup
//   Cancelled          interrupted                     Io                 the system has no process or pipe to give
Result<ChildOutcome> run_child(const ChildCommand& command, const std::function<void()>& on_tick);

}  // namespace spillway
