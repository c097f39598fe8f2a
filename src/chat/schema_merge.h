// SPDX-License-Identifier: MIT
// Two JSON schemas as one that admits what both admit. For allOf, and for what stands beside anyOf and $ref. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "chat/grammar.h"

namespace spillway {

using Schema = nlohmann::ordered_json;

// What it takes to look at all of a schema, or to copy it: a step for each value, and for 64 bytes of text.
uint64_t steps_through(const Schema& schema);

// Charges `work` with what is looked at more than once; steps_through() of both is the caller's to charge.
//   InvalidArgument   nothing satisfies both; or `work` is used up
//   Unsupported       no single schema says it in keywords that a grammar can express
Result<Schema> merge_schemas(const Schema& a, const Schema& b, SchemaWork& work);

}  // namespace spillway
