// SPDX-License-Identifier: MIT
// Runs one Jinja template. The interpreter is JavaScript (see jinja/) in a QuickJS runtime of its own, which can reach
// nothing: no files, no clock, no other template. Time, memory and stack are bounded.
//
// What runs within one call of C can not be interrupted there (a search of a long text in a longer one): see
// chat/confined_jinja.h for templates that come from others.
//
// Threads: one at a time.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

struct JinjaLimits {
  double seconds_max = 2.0;  // of computing, not of waiting for a processor
  uint64_t memory_bytes_max = 256ull << 20;
};

class Jinja {
 public:
  //   Unsupported   not a template that the interpreter can read
  //   OutOfBudget   a limit was met
  static Result<std::unique_ptr<Jinja>> parse(std::string_view text, const JinjaLimits& limits);
  virtual ~Jinja() = default;

  // `variables`: JSON of an object. `now`: what strftime_now() tells.
  //   InvalidArgument   the template called raise_exception; its message
  //   Unsupported       the template failed
  //   OutOfBudget       a limit was met. The interpreter may be in any state; parse anew
  //   Busy              the system ended its process. The same
  virtual Result<std::string> render(const std::string& variables, std::time_t now) = 0;

  // What was computed so far by other processes for it.
  virtual double child_cpu_s() const { return 0; }
};

}  // namespace spillway
