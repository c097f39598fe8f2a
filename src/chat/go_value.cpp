// SPDX-License-Identifier: MIT
#include "chat/go_value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "chat/json_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// The shortest digits that mean `value`, and the power of ten of the first: 1234.5 is "12345" and 3.
std::pair<std::string, int> shortest(double value) {
  std::array<char, 64> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), std::abs(value), std::chars_format::scientific);
  const std::string_view all(text.data(), static_cast<size_t>(end.ptr - text.data()));
  const size_t mark = all.find('e');
  std::string digits;
  for (const char c : all.substr(0, mark))
    if (c != '.') digits += c;
  return {digits, std::stoi(std::string(all.substr(mark + 1)))};
}

std::string scientific(const std::string& digits, int power, bool short_power) {
  std::string out = digits.substr(0, 1);
  if (digits.size() > 1) out += "." + digits.substr(1);
  return out + fmt::format(fmt::runtime(short_power ? "e{}{}" : "e{}{:02}"), power < 0 ? '-' : '+', std::abs(power));
}

std::string plain(const std::string& digits, int power) {
  const int n = static_cast<int>(digits.size());
  if (power < 0) return "0." + std::string(static_cast<size_t>(-power - 1), '0') + digits;
  if (power >= n - 1) return digits + std::string(static_cast<size_t>(power - n + 1), '0');
  return digits.substr(0, static_cast<size_t>(power) + 1) + "." + digits.substr(static_cast<size_t>(power) + 1);
}

std::string json_float(double value) {
  const double size = std::abs(value);
  const auto [digits, power] = shortest(value);
  const bool power_form = size != 0 && (size < 1e-6 || size >= 1e21);
  return (std::signbit(value) ? "-" : "") + (power_form ? scientific(digits, power, power < 0) : plain(digits, power));
}

// Marshal escapes what HTML reads as marks, and two separators of lines.
std::string marshalled_text(const std::string& text) {
  const std::string quoted = json_string(text);
  std::string out;
  for (size_t i = 0; i < quoted.size(); ++i) {
    const std::string_view rest = std::string_view(quoted).substr(i);
    if (quoted[i] == '<' || quoted[i] == '>' || quoted[i] == '&') {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(quoted[i]));
    } else if (rest.starts_with("\u2028") || rest.starts_with("\u2029")) {
      out += rest.starts_with("\u2028") ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      out += quoted[i];
    }
  }
  return out;
}

bool is_empty(const GoValue& value) {
  if (value.as_struct() != nullptr) return false;
  return !value.truth();
}

}  // namespace

std::string go_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  if (value == 0) return std::signbit(value) ? "-0" : "0";
  const auto [digits, power] = shortest(value);
  return (value < 0 ? "-" : "") + (power < -4 || power >= 6 ? scientific(digits, power, false) : plain(digits, power));
}

std::string go_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    constexpr std::string_view kNamed = "\a\b\f\n\r\t\v\\\"", kNames = "abfnrtv\\\"";
    if (const size_t at = kNamed.find(c); at != std::string_view::npos)
      (out += '\\') += kNames[at];
    else if (code < 0x20 || code == 0x7f)
      out += fmt::format("\\x{:02x}", code);
    else
      out += c;
  }
  return out + "\"";
}

GoValue GoValue::list(GoList items, bool prints_json) {
  GoValue value;
  value.value_ = std::make_shared<const GoList>(std::move(items));
  value.prints_json_ = prints_json;
  return value;
}
GoValue GoValue::no_list(bool prints_json) {
  GoValue value = list({}, prints_json);
  value.never_made_ = true;
  return value;
}
GoValue GoValue::map(GoMap entries, bool prints_json) {
  GoValue value;
  value.value_ = std::make_shared<const GoMap>(std::move(entries));
  value.prints_json_ = prints_json;
  return value;
}
GoValue GoValue::structure(std::vector<GoField> fields, bool prints_json) {
  GoValue value;
  value.value_ = std::make_shared<const GoStruct>(GoStruct{std::move(fields)});
  value.prints_json_ = prints_json;
  return value;
}

GoValue GoValue::from_json(const Json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    GoList items;
    for (const Json& one : json) items.push_back(from_json(one));
    return list(std::move(items));
  }
  if (!json.is_object()) return {};
  GoMap entries;
  for (const auto& [key, one] : json.items()) entries.insert_or_assign(key, from_json(one));
  return map(std::move(entries));
}

const GoList* GoValue::as_list() const {
  const auto* list = std::get_if<std::shared_ptr<const GoList>>(&value_);
  return list != nullptr ? list->get() : nullptr;
}
const GoMap* GoValue::as_map() const {
  const auto* map = std::get_if<std::shared_ptr<const GoMap>>(&value_);
  return map != nullptr ? map->get() : nullptr;
}
const GoStruct* GoValue::as_struct() const {
  const auto* structure = std::get_if<std::shared_ptr<const GoStruct>>(&value_);
  return structure != nullptr ? structure->get() : nullptr;
}

bool GoValue::truth() const {
  if (is_nil()) return false;
  if (as_bool() != nullptr) return *as_bool();
  if (as_int() != nullptr) return *as_int() != 0;
  if (as_float() != nullptr) return *as_float() != 0;
  if (as_text() != nullptr) return !as_text()->empty();
  if (as_list() != nullptr) return !as_list()->empty();
  if (as_map() != nullptr) return !as_map()->empty();
  return true;
}

std::string GoValue::print() const { return print_within(false); }

std::string GoValue::print_within(bool inside) const {
  if (is_nil()) return inside ? "<nil>" : "<no value>";
  if (prints_json_) return json();
  if (as_bool() != nullptr) return *as_bool() ? "true" : "false";
  if (as_int() != nullptr) return std::to_string(*as_int());
  if (as_float() != nullptr) return go_float(*as_float());
  if (as_text() != nullptr) return *as_text();
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : " ") + text; };
  if (const GoList* list = as_list()) {
    for (const GoValue& one : *list) add(one.print_within(true));
    return "[" + out + "]";
  }
  if (const GoMap* map = as_map()) {
    for (const auto& [key, one] : *map) add(key + ":" + one.print_within(true));
    return "map[" + out + "]";
  }
  bool first = true;
  for (const GoField& field : as_struct()->fields) {
    out += (first ? "" : " ") + field.value.print_within(true);
    first = false;
  }
  return "{" + out + "}";
}

std::string GoValue::json() const {
  if (is_nil() || never_made_) return "null";
  if (as_bool() != nullptr) return *as_bool() ? "true" : "false";
  if (as_int() != nullptr) return std::to_string(*as_int());
  if (as_float() != nullptr) return json_float(*as_float());
  if (as_text() != nullptr) return marshalled_text(*as_text());
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ",") + text; };
  if (const GoList* list = as_list()) {
    for (const GoValue& one : *list) add(one.json());
    return "[" + out + "]";
  }
  if (const GoMap* map = as_map()) {
    for (const auto& [key, one] : *map) add(marshalled_text(key) + ":" + one.json());
    return "{" + out + "}";
  }
  for (const GoField& field : as_struct()->fields)
    if (!field.omit_empty || !is_empty(field.value)) add(marshalled_text(field.json_name) + ":" + field.value.json());
  return "{" + out + "}";
}

const char* GoValue::type_name() const {
  if (is_nil()) return "nil";
  if (as_bool() != nullptr) return "bool";
  if (as_int() != nullptr) return "int";
  if (as_float() != nullptr) return "float64";
  if (as_text() != nullptr) return "string";
  if (as_list() != nullptr) return "list";
  if (as_map() != nullptr) return "map";
  return "struct";
}

}  // namespace spillway
