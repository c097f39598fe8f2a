// SPDX-License-Identifier: MIT
// A child process that answers one message after the other, for work that may not end or may take the process with it:
// the child can be killed.
//
// Messages and answers are bytes, each with its length in front, on the child's standard input and output.
//
// Of our environment it has the time zone and where libraries lie, no keys.
//
// Threads: one at a time. The child ends with the object, with our process, and when it is of no more use.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace spillway {

class ServantProcess {
 public:
  //   NotFound  PermissionDenied  Io   there is no such program, or no process to be had
  static Result<std::unique_ptr<ServantProcess>> start(const std::string& program,
                                                       const std::vector<std::string>& arguments);
  virtual ~ServantProcess() = default;

  // Waits for the answer. After an error the child is gone, and each further question fails.
  //   OutOfBudget   no answer within `timeout_s`, or one of more than `answer_bytes_max`
  //   Io            it ended
  //   Busy          the system ended it, or could not begin it: there is no memory for it now
  virtual Result<std::string> ask(std::string_view message, double timeout_s, uint64_t answer_bytes_max) = 0;

  // What it has computed so far; 0 where it is gone, or the system does not tell.
  virtual double cpu_s() const = 0;
};

// ---- in the child

// What this process may still do: no files, no new processes, so much memory; it ends when nobody asks any more.
void confine_this_process(uint64_t memory_bytes_max);

// So much memory from now on, beyond what it has: more exact than the bound above, which counts what libraries map. To
// be called before, since it asks /proc how much that is; without /proc it bounds nothing.
void confine_growth(uint64_t bytes);

// Ends this process when it computes longer than so many seconds from now on.
void limit_cpu_from_now(double seconds);

// Answers until nobody asks any more.
void answer_messages(const std::function<std::string(std::string message)>& answer);

}  // namespace spillway
