// SPDX-License-Identifier: MIT
// Runs a program as a user would: arguments and standard input in, what it wrote and how it ended out.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace spillway {

struct ProcessOutcome {
  int exit_code = -1;  // 128 + signal when one ended it
  std::string out, err;
};

class Process {
 public:
  // Fails the test when it cannot be started.
  Process(const std::vector<std::string>& command, const std::string& input);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void wait_for_output();  // until something is on stdout, or it ended
  void signal(int number) const;
  void close_output();  // nobody reads its stdout any more
  ProcessOutcome finish();

 private:
  bool read_some();  // from whatever pipe has something; false when both are at their end

  pid_t pid_ = -1;
  int out_fd_ = -1, err_fd_ = -1;
  ProcessOutcome outcome_;
};

inline ProcessOutcome run_process(const std::vector<std::string>& command, const std::string& input = "") {
  return Process(command, input).finish();
}

}  // namespace spillway
