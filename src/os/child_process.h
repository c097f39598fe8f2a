// SPDX-License-Identifier: MIT
// A child process whose output is collected while it runs, in a memory cgroup if one is given. Any thread; others do
// not matter: between fork and exec the child only makes calls that signal handlers may make.
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
  double timeout_s = 0;                  // killed after that long; 0: never
  double patience_s = 5;                 // between asking it to stop and killing it
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

// Runs it to its end. `go_on` is called about five times a second; once it says false the child is asked to stop
// (SIGINT), then made to. It is always waited for, so that its cgroup can be removed.
//   NotFound           there is no such program        PermissionDenied   it may not be run, or not join the cgroup
//   Cancelled          go_on() said false              Io                 the system has no process or pipe to give
Result<ChildOutcome> run_child(const ChildCommand& command, const std::function<bool()>& go_on);

}  // namespace spillway
