// SPDX-License-Identifier: MIT
#include "serve/json_input.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <ctime>
#include <limits>

#include "base/json_reader.h"
#include "base/json_writer.h"

namespace spillway {
namespace {

bool same_letters(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

Failure wrong_type(std::string_view name, const char* type) {
  return error(Code::kInvalidArgument, fmt::format("'{}' must be of type {}", name, type));
}

// Fields are looked for one by one. No request has a hundredth of so many.
Result<void> check_fields(const Json& object, std::string_view what) {
  constexpr size_t kFieldsMax = 10'000;
  if (object.size() <= kFieldsMax) return {};
  return error(Code::kInvalidArgument,
               fmt::format("{} has {} fields, and {} are the most", what, object.size(), kFieldsMax));
}

}  // namespace

Result<Json> parse_json_object(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return error(Code::kInvalidArgument, "missing request body");
  ASSIGN_OR_RETURN(Json json, read_json(text));
  if (!json.is_object()) return error(Code::kInvalidArgument, "the request body is no JSON object");
  RETURN_IF_ERROR(check_fields(json, "the request"));
  return json;
}

std::string to_text(const Json& json) { return write_json(json); }

const Json* find_field(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const Json* found = nullptr;
  for (const auto& [key, value] : object.items()) {
    if (key == name) {
      found = &value;
      break;
    }
    if (found == nullptr && same_letters(key, name)) found = &value;
  }
  return found != nullptr && !found->is_null() ? found : nullptr;
}

Result<const Json*> object_field(const Json& object, std::string_view name) {
  const Json* value = find_field(object, name);
  if (value != nullptr && !value->is_object()) return wrong_type(name, "object");
  if (value != nullptr) RETURN_IF_ERROR(check_fields(*value, fmt::format("'{}'", name)));
  return value;
}

Result<std::optional<std::string>> string_field(const Json& object, std::string_view name) {
  const Json* value = find_field(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return wrong_type(name, "string");
  return value->get<std::string>();
}

Result<std::optional<bool>> bool_field(const Json& object, std::string_view name) {
  const Json* value = find_field(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return wrong_type(name, "boolean");
  return value->get<bool>();
}

Result<std::optional<int64_t>> integer_field(const Json& object, std::string_view name) {
  const Json* value = find_field(object, name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return error(Code::kInvalidArgument, fmt::format("'{}' is out of range", name));
  if (value->is_number_integer()) return value->get<int64_t>();
  // JavaScript has one kind of number: 5.0 is an integer.
  if (value->is_number_float()) {
    const double number = value->get<double>();
    if (number == std::floor(number) && std::abs(number) < 9e15) return static_cast<int64_t>(number);
  }
  return wrong_type(name, "integer");
}

Result<std::optional<double>> number_field(const Json& object, std::string_view name) {
  const Json* value = find_field(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return wrong_type(name, "number");
  return value->get<double>();
}

Result<std::optional<double>> number_field_within(const Json& object, std::string_view name, double min, double max) {
  ASSIGN_OR_RETURN(const auto value, number_field(object, name));
  if (value && !(*value >= min && *value <= max))
    return error(Code::kInvalidArgument,
                 fmt::format("'{}' must be between {} and {}, and is {}", name, min, max, *value));
  return value;
}

Result<double> parse_duration_s(std::string_view text) {
  const auto no_duration = [&, whole = text] {
    return error(Code::kInvalidArgument,
                 fmt::format("invalid duration '{}'; write for example 5m, 1h30m or -1s", whole.substr(0, 40)));
  };
  double sign = 1;
  if (text.starts_with('-') || text.starts_with('+')) {
    if (text.front() == '-') sign = -1;
    text.remove_prefix(1);
  }
  if (text == "0") return 0.0;
  if (text.empty()) return no_duration();
  double seconds = 0;
  while (!text.empty()) {
    double number = 0;
    const size_t digits = text.find_first_not_of("0123456789.");
    if (digits == 0 || digits == std::string_view::npos) return no_duration();
    const auto [end, failed] = std::from_chars(text.data(), text.data() + digits, number);
    if (failed != std::errc() || end != text.data() + digits) return no_duration();
    text.remove_prefix(digits);
    struct Unit {
      std::string_view name;
      double seconds;
    };
    static constexpr Unit kUnits[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\xC2\xB5s", 1e-6}, {"ms", 1e-3},
                                      {"s", 1},     {"m", 60},    {"h", 3600}};
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits)
      if (text.starts_with(candidate.name) && (candidate.name != "m" || !text.starts_with("ms"))) unit = &candidate;
    if (unit == nullptr) return no_duration();
    seconds += number * unit->seconds;
    text.remove_prefix(unit->name.size());
  }
  return sign * seconds;
}

Result<std::optional<double>> keep_alive_field(const Json& object) {
  const Json* value = find_field(object, "keep_alive");
  if (value == nullptr) return std::nullopt;
  double seconds = 0;
  if (value->is_number()) {
    seconds = value->get<double>();
  } else if (value->is_string()) {
    ASSIGN_OR_RETURN(seconds, parse_duration_s(value->get<std::string>()));
  } else {
    return wrong_type("keep_alive", "number or duration string");
  }
  return seconds < 0 ? std::numeric_limits<double>::infinity() : seconds;
}

std::string rfc3339_ns(int64_t unix_ns) {
  const int64_t fraction = ((unix_ns % 1000000000) + 1000000000) % 1000000000;
  const auto seconds = static_cast<std::time_t>((unix_ns - fraction) / 1000000000);
  std::tm date{};
  gmtime_r(&seconds, &date);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", date.tm_year + 1900, date.tm_mon + 1, date.tm_mday,
                     date.tm_hour, date.tm_min, date.tm_sec, fraction);
}

std::string rfc3339(double unix_s) {
  // Go's largest duration: what "forever" ends at.
  constexpr double kLast = 9.2e9;
  return rfc3339_ns(static_cast<int64_t>(std::min(unix_s, kLast) * 1e6) * 1000);
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kDigits[word >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace spillway
