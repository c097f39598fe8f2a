// SPDX-License-Identifier: MIT
// Runs Go templates within bounds: a template can only read what it is given. Pure.
#pragma once

#include <ctime>
#include <string>

#include "base/status.h"
#include "chat/go_parse.h"
#include "chat/go_value.h"

namespace spillway {

struct GoLimits {
  double seconds_max = 2.0;  // of computing
  uint64_t output_bytes_max = 64ull << 20;
  uint64_t made_bytes_max = 64ull << 20;  // of all texts that its functions make, whether or not they are still held
};

//   Unsupported   the template fails, as it would in Go: a field that is not there, values that do not compare
//   OutOfBudget   a limit was met
Result<std::string> run_go_template(const GoTemplateText& text, const GoValue& data, std::time_t now,
                                    const GoLimits& limits);

}  // namespace spillway
