// SPDX-License-Identifier: MIT
// Whether an adapter's numbers are numbers. What is computed with one that has others shows that something is damaged,
// the model or one of its adapters, and not what. Any thread.
#pragma once

#include <string>

#include "base/status.h"

namespace spillway {

// Reads the whole file, as loading it does.
//   Corrupt   one is NaN or infinite; the message names file and tensor      errors of open_gguf_model
Result<void> check_adapter_numbers(const std::string& path);

}  // namespace spillway
