// SPDX-License-Identifier: MIT
#include "chat/go_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
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

// A few characters of `text`, whole ones: what is no UTF-8 is replaced in parts as it is in one.
std::string_view some_characters(std::string_view text) {
  constexpr size_t kBytes = 4096, kCharacterBytesMax = 4;
  size_t end = std::min(text.size(), kBytes);
  const auto continues = [&] { return end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u; };
  while (continues() && end < kBytes + kCharacterBytesMax) ++end;
  return text.substr(0, end);
}

// Marshal escapes what HTML reads as marks, and two separators of lines.
void write_marshalled(std::string_view text, BoundedText& out) {
  out.add('"');
  while (!text.empty() && !out.is_full()) {
    const std::string_view part = some_characters(text);
    text.remove_prefix(part.size());
    const std::string quoted = json_string(part);
    for (size_t i = 1; i + 1 < quoted.size(); ++i) {
      const std::string_view rest = std::string_view(quoted).substr(i);
      if (quoted[i] == '<' || quoted[i] == '>' || quoted[i] == '&') {
        out.add(fmt::format("\\u{:04x}", static_cast<unsigned>(quoted[i])));
      } else if (rest.starts_with("\u2028") || rest.starts_with("\u2029")) {
        out.add(rest.starts_with("\u2028") ? "\\u2028" : "\\u2029");
        i += 2;
      } else {
        out.add(quoted[i]);
      }
    }
  }
  out.add('"');
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

void go_quoted(std::string_view text, BoundedText& out) {
  out.add('"');
  for (const char c : text) {
    if (out.is_full()) return;
    const auto code = static_cast<unsigned char>(c);
    constexpr std::string_view kNamed = "\a\b\f\n\r\t\v\\\"", kNames = "abfnrtv\\\"";
    if (const size_t at = kNamed.find(c); at != std::string_view::npos) {
      out.add('\\');
      out.add(kNames[at]);
    } else if (code < 0x20 || code == 0x7f) {
      out.add(fmt::format("\\x{:02x}", code));
    } else {
      out.add(c);
    }
  }
  out.add('"');
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

void GoValue::print(BoundedText& out) const { print_within(false, out); }

void GoValue::print_within(bool inside, BoundedText& out) const {
  if (is_nil()) return out.add(inside ? "<nil>" : "<no value>");
  if (prints_json_) return json(out);
  if (as_bool() != nullptr) return out.add(*as_bool() ? "true" : "false");
  if (as_int() != nullptr) return out.add(std::to_string(*as_int()));
  if (as_float() != nullptr) return out.add(go_float(*as_float()));
  if (as_text() != nullptr) return out.add(*as_text());
  bool first = true;
  // Whether there is room for one more element.
  const auto next = [&] {
    if (!first) out.add(' ');
    first = false;
    return !out.is_full();
  };
  if (const GoList* list = as_list()) {
    out.add('[');
    for (const GoValue& one : *list)
      if (next()) one.print_within(true, out);
    return out.add(']');
  }
  if (const GoMap* map = as_map()) {
    out.add("map[");
    for (const auto& [key, one] : *map) {
      if (!next()) return;
      out.add(key);
      out.add(':');
      one.print_within(true, out);
    }
    return out.add(']');
  }
  out.add('{');
  for (const GoField& field : as_struct()->fields)
    if (next()) field.value.print_within(true, out);
  out.add('}');
}

void GoValue::json(BoundedText& out) const {
  if (is_nil() || never_made_) return out.add("null");
  if (as_bool() != nullptr) return out.add(*as_bool() ? "true" : "false");
  if (as_int() != nullptr) return out.add(std::to_string(*as_int()));
  if (as_float() != nullptr) return out.add(json_float(*as_float()));
  if (as_text() != nullptr) return write_marshalled(*as_text(), out);
  bool first = true;
  const auto next = [&] {
    if (!first) out.add(',');
    first = false;
    return !out.is_full();
  };
  const auto member = [&](const std::string& key, const GoValue& one) {
    if (!next()) return;
    write_marshalled(key, out);
    out.add(':');
    one.json(out);
  };
  if (const GoList* list = as_list()) {
    out.add('[');
    for (const GoValue& one : *list)
      if (next()) one.json(out);
    return out.add(']');
  }
  out.add('{');
  if (const GoMap* map = as_map()) {
    for (const auto& [key, one] : *map) member(key, one);
  } else {
    for (const GoField& field : as_struct()->fields)
      if (!field.omit_empty || !is_empty(field.value)) member(field.json_name, field.value);
  }
  out.add('}');
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
