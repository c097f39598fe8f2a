// SPDX-License-Identifier: MIT
// Reading JSON that somebody sent: parsed within bounds, each field with its type. Pure.
//
// Field names match exactly, or else without regard to case, as Ollama's do. `null` is as good as absent.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace spillway {

using Json = nlohmann::ordered_json;

// What is wrong with a request.
inline Failure invalid(std::string message) { return error(Code::kInvalidArgument, std::move(message)); }

//   InvalidArgument   empty ("missing request body"), no object at the top; errors of read_json()
Result<Json> parse_json_object(std::string_view text);

// The text of a value, on one line; bytes that are no UTF-8 become U+FFFD.
std::string to_text(const Json& json);

// nullptr: absent or null.
const Json* find_field(const Json& object, std::string_view name);

// nullptr, nullopt: absent. InvalidArgument: another type; the message names field and type.
Result<const Json*> object_field(const Json& object, std::string_view name);
Result<std::optional<std::string>> string_field(const Json& object, std::string_view name);
Result<std::optional<bool>> bool_field(const Json& object, std::string_view name);
Result<std::optional<int64_t>> integer_field(const Json& object, std::string_view name);
Result<std::optional<double>> number_field(const Json& object, std::string_view name);

// The same; a number outside the range is InvalidArgument too.
Result<std::optional<double>> number_field_within(const Json& object, std::string_view name, double min, double max);

// "5m", "1h30m", "-1m", "300ms": seconds, as Go writes durations. "0" is one; a bare "300" is none.
//   InvalidArgument
Result<double> parse_duration_s(std::string_view text);

// keep_alive: a number of seconds or a duration; negative is forever (infinity). nullopt: absent.
Result<std::optional<double>> keep_alive_field(const Json& object);

// Seconds since 1970 as "2026-11-21T05:24:57.123456789Z".
std::string rfc3339(double unix_s);
std::string rfc3339_ns(int64_t unix_ns);

std::string base64(std::string_view bytes);

}  // namespace spillway
