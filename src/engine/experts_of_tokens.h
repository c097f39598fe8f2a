// SPDX-License-Identifier: MIT
// Layers that choose experts by the token alone (DeepSeek-V4's first ones) have a table of them in the file. ggml looks
// at its numbers in the middle of a pass, and ends the process at one that is no expert's. Any thread.
#pragma once

#include "base/status.h"
#include "model/gguf_model.h"

namespace spillway {

// Reads these tables whole, some MB.
//   Corrupt   one names an expert that is not there      Io
Result<void> check_experts_of_tokens(const GgufModel& model);

}  // namespace spillway
