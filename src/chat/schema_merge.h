// SPDX-License-Identifier: MIT
// Two JSON schemas as one that admits what both admit. For allOf, and for what stands beside anyOf and $ref. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace spillway {

using Schema = nlohmann::ordered_json;

//   InvalidArgument   nothing satisfies both
//   Unsupported       no single schema says it in keywords that a grammar can express
Result<Schema> merge_schemas(const Schema& a, const Schema& b);

}  // namespace spillway
