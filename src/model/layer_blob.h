// SPDX-License-Identifier: MIT
// The blob of a manifest's layer, held against what the manifest says of it.
#pragma once

#include <string>

#include "base/status.h"
#include "model/manifest.h"
#include "model/model_store.h"

namespace spillway {

// By its size, and a small one by its content, too: weights are not read.
//   Corrupt   it is missing, or damaged; the message says what mends it      PermissionDenied  Io
Result<void> check_layer(const ModelStore& store, const Layer& layer);

// The whole of a text.
//   errors of check_layer()      InvalidArgument   it is larger than any text
Result<std::string> read_layer(const ModelStore& store, const Layer& layer);

}  // namespace spillway
