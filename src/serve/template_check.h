// SPDX-License-Identifier: MIT
// Whether a chat template can be used. Pure.
#pragma once

#include <string>

#include "base/status.h"

namespace spillway {

// Of a Modelfile, of a request. Before anything is made with it.
//   InvalidArgument   it cannot be parsed; the message is one a user can act on
Result<void> check_template(const std::string& text);

}  // namespace spillway
