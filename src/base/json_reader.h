// SPDX-License-Identifier: MIT
// JSON that somebody else wrote, read in memory and time linear in its length, within bounds of depth and number. Pure.
//
// nlohmann's own parser looks through all members of an object for each one that it adds (100,000 members take 15 s),
// and takes a hundred bytes for two of text ("{}").
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/status.h"

namespace spillway {

struct JsonLimits {
  size_t depth_max = 128;         // objects and lists within each other; far beyond any schema or call in use
  size_t values_max = 1'000'000;  // all together
};

// Members in the order of the text; of two with the same name the last value counts, as for nlohmann.
//   InvalidArgument   not JSON, or beyond a limit; the message says what and where, in one line
Result<nlohmann::ordered_json> read_json(std::string_view text, const JsonLimits& limits = {});

// Of what was looked at before, so that there is nobody to tell: null where it is not JSON, or beyond a limit.
nlohmann::ordered_json json_or_null(std::string_view text);

}  // namespace spillway
