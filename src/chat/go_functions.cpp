// SPDX-License-Identifier: MIT
#include "chat/go_functions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/saturating_sub.h"

namespace spillway {
namespace {

using Arguments = std::span<const GoValue>;

Failure fail(const std::string& what) { return error(Code::kUnsupported, what); }

// ---- comparisons ----

enum class Basic { kNone, kBool, kInt, kFloat, kText };
Basic basic_of(const GoValue& value) {
  if (value.as_bool() != nullptr) return Basic::kBool;
  if (value.as_int() != nullptr) return Basic::kInt;
  if (value.as_float() != nullptr) return Basic::kFloat;
  if (value.as_text() != nullptr) return Basic::kText;
  return Basic::kNone;
}

Result<bool> equal(const GoValue& a, const GoValue& b) {
  const Basic kind = basic_of(a);
  if (kind != basic_of(b)) {
    if (a.is_nil() || b.is_nil()) return false;
    return fail(fmt::format("{} and {} do not compare", a.type_name(), b.type_name()));
  }
  switch (kind) {
    case Basic::kBool:
      return *a.as_bool() == *b.as_bool();
    case Basic::kInt:
      return *a.as_int() == *b.as_int();
    case Basic::kFloat:
      return *a.as_float() == *b.as_float();
    case Basic::kText:
      return *a.as_text() == *b.as_text();
    case Basic::kNone:
      break;
  }
  if (a.is_nil() || b.is_nil()) return a.is_nil() == b.is_nil();
  return fail(fmt::format("a {} does not compare", a.type_name()));
}

Result<bool> less(const GoValue& a, const GoValue& b) {
  const Basic kind = basic_of(a);
  if (kind != basic_of(b)) return fail(fmt::format("{} and {} do not compare", a.type_name(), b.type_name()));
  if (kind == Basic::kInt) return *a.as_int() < *b.as_int();
  if (kind == Basic::kFloat) return *a.as_float() < *b.as_float();
  if (kind == Basic::kText) return *a.as_text() < *b.as_text();
  return fail(fmt::format("a {} has no order", a.type_name()));
}

Result<GoValue> compare(const std::string& name, Arguments all) {
  if (name == "eq") {
    if (all.size() < 2) return fail("eq wants at least two arguments");
    for (const GoValue& one : all.subspan(1)) {
      ASSIGN_OR_RETURN(const bool same, equal(all[0], one));
      if (same) return GoValue(true);
    }
    return GoValue(false);
  }
  if (all.size() != 2) return fail(name + " wants two arguments");
  if (name == "ne") {
    ASSIGN_OR_RETURN(const bool same, equal(all[0], all[1]));
    return GoValue(!same);
  }
  ASSIGN_OR_RETURN(const bool below, less(all[0], all[1]));
  if (name == "lt") return GoValue(below);
  if (name == "ge") return GoValue(!below);
  ASSIGN_OR_RETURN(const bool same, equal(all[0], all[1]));
  return GoValue(name == "le" ? below || same : !below && !same);
}

// ---- parts ----

Result<GoValue> length(Arguments all) {
  if (all.size() != 1) return fail("len wants one argument");
  const GoValue& value = all[0];
  if (value.as_text() != nullptr) return GoValue(static_cast<int64_t>(value.as_text()->size()));
  if (value.as_list() != nullptr) return GoValue(static_cast<int64_t>(value.as_list()->size()));
  if (value.as_map() != nullptr) return GoValue(static_cast<int64_t>(value.as_map()->size()));
  return fail(fmt::format("a {} has no length", value.type_name()));
}

Result<size_t> position(const GoValue& at, size_t size, bool may_be_end) {
  if (at.as_int() == nullptr) return fail(fmt::format("a {} is no index", at.type_name()));
  const int64_t index = *at.as_int(), last = static_cast<int64_t>(size) - (may_be_end ? 0 : 1);
  if (index < 0 || index > last) return fail(fmt::format("index {} is out of range: there are {}", index, size));
  return static_cast<size_t>(index);
}

Result<GoValue> element(Arguments all) {
  if (all.empty() || all[0].is_nil()) return fail("index of nothing");
  GoValue value = all[0];
  for (const GoValue& at : all.subspan(1)) {
    if (const GoList* list = value.as_list()) {
      ASSIGN_OR_RETURN(const size_t i, position(at, list->size(), false));
      value = GoValue(list->at(i));
    } else if (const GoMap* map = value.as_map()) {
      if (at.as_text() == nullptr) return fail(fmt::format("a {} is no key", at.type_name()));
      const auto found = map->find(*at.as_text());
      value = found == map->end() ? GoValue() : GoValue(found->second);
    } else if (const std::string* text = value.as_text()) {
      ASSIGN_OR_RETURN(const size_t i, position(at, text->size(), false));
      value = GoValue(static_cast<int64_t>(static_cast<unsigned char>((*text)[i])));
    } else {
      return fail(fmt::format("a {} has no elements", value.type_name()));
    }
  }
  return value;
}

Result<GoValue> slice(Arguments all) {
  if (all.empty() || all.size() > 4) return fail("slice wants one to four arguments");
  const GoList* list = all[0].as_list();
  const std::string* text = all[0].as_text();
  if (list == nullptr && (text == nullptr || all.size() == 4))
    return fail(fmt::format("a {} cannot be sliced so", all[0].type_name()));
  const size_t size = list != nullptr ? list->size() : text->size();
  size_t begin = 0, end = size;
  if (all.size() > 1) {
    ASSIGN_OR_RETURN(begin, position(all[1], size, true));
  }
  if (all.size() > 2) {
    ASSIGN_OR_RETURN(end, position(all[2], size, true));
  }
  if (begin > end) return fail(fmt::format("a slice from {} to {}", begin, end));
  if (text != nullptr) return GoValue(text->substr(begin, end - begin));
  const auto at = [&](size_t i) { return list->begin() + static_cast<std::ptrdiff_t>(i); };
  return GoValue::list(GoList(at(begin), at(end)));
}

// ---- text ----

void write_inside(const GoValue& value, BoundedText& out) {
  if (value.is_nil()) return out.add("<nil>");
  value.print(out);
}

Failure too_much(uint64_t bytes_max) {
  return error(Code::kOutOfBudget, fmt::format("it makes more than {} bytes of text", bytes_max));
}

Result<GoValue> text_made(BoundedText out, uint64_t bytes_max) {
  if (out.is_full()) return too_much(bytes_max);
  return GoValue(out.take());
}

// Sprint: a blank between two that are both no text. Sprintln: between any two.
Result<GoValue> printed(Arguments all, bool line, uint64_t bytes_max) {
  BoundedText out(bytes_max);
  for (size_t i = 0; i < all.size(); ++i) {
    const bool texts = i > 0 && (all[i].as_text() != nullptr || all[i - 1].as_text() != nullptr);
    if (i > 0 && (line || !texts)) out.add(' ');
    write_inside(all[i], out);
  }
  if (line) out.add('\n');
  return text_made(std::move(out), bytes_max);
}

void write_hex(const GoValue& value, bool large, BoundedText& out) {
  if (value.as_int() != nullptr) return out.add(fmt::format(fmt::runtime(large ? "{:X}" : "{:x}"), *value.as_int()));
  for (const char c : *value.as_text()) {
    if (out.is_full()) return;
    out.add(fmt::format(fmt::runtime(large ? "{:02X}" : "{:02x}"), static_cast<unsigned char>(c)));
  }
}

struct Verb {
  std::string flags;
  std::optional<size_t> width, precision;
  char letter = 'v';
};

// Gives `take` all of what `write` writes of a value.
template <typename Write, typename Take>
void by_way_of_text(BoundedText& out, const Write& write, const Take& take) {
  BoundedText whole(out.room_bytes());
  write(whole);
  if (whole.is_full()) return out.be_full();
  take(std::string_view(whole.text()));
}

void write_verb(const Verb& verb, const GoValue& value, BoundedText& out) {
  if (value.is_nil() && verb.letter != 'v') return out.add(fmt::format("%!{}(<nil>)", verb.letter));
  const auto bad = [&] {
    out.add(fmt::format("%!{}({}=", verb.letter, value.type_name()));
    write_inside(value, out);
    out.add(')');
  };
  const bool plus = verb.flags.find('+') != std::string::npos;
  switch (verb.letter) {
    case 'v':
      return write_inside(value, out);
    case 's':
      if (basic_of(value) != Basic::kText && basic_of(value) != Basic::kNone) return bad();
      if (!verb.precision) return write_inside(value, out);
      if (value.as_text() != nullptr) return out.add(std::string_view(*value.as_text()).substr(0, *verb.precision));
      return by_way_of_text(
          out, [&](BoundedText& whole) { write_inside(value, whole); },
          [&](std::string_view text) { out.add(text.substr(0, *verb.precision)); });
    case 'q':
      return value.as_text() != nullptr ? go_quoted(*value.as_text(), out) : bad();
    case 'd':
      if (value.as_int() == nullptr) return bad();
      return out.add((plus && *value.as_int() >= 0 ? "+" : "") + std::to_string(*value.as_int()));
    case 't':
      return value.as_bool() != nullptr ? write_inside(value, out) : bad();
    case 'f':
      if (value.as_float() == nullptr) return bad();
      return out.add(fmt::format("{:.{}f}", *value.as_float(), verb.precision.value_or(6)));
    case 'g':
      if (value.as_float() == nullptr) return bad();
      return out.add(verb.precision ? fmt::format("{:.{}g}", *value.as_float(), *verb.precision)
                                    : go_float(*value.as_float()));
    case 'x':
    case 'X':
      return value.as_int() != nullptr || value.as_text() != nullptr ? write_hex(value, verb.letter == 'X', out)
                                                                     : bad();
    default:
      return bad();
  }
}

// Width counts characters.
std::string padding(std::string_view text, const Verb& verb) {
  const auto is_start = [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; };
  const auto size = static_cast<size_t>(std::count_if(text.begin(), text.end(), is_start));
  const bool zeros = verb.flags.find('0') != std::string::npos && verb.letter != 's' && verb.letter != 'q';
  const bool behind = verb.flags.find('-') != std::string::npos;
  return std::string(saturating_sub(verb.width.value_or(0), size), zeros && !behind ? '0' : ' ');
}

void write_padded(const Verb& verb, const GoValue& value, BoundedText& out) {
  if (!verb.width) return write_verb(verb, value, out);
  const auto pad = [&](std::string_view text) {
    const std::string blanks = padding(text, verb);
    const bool behind = verb.flags.find('-') != std::string::npos;
    const bool signs = blanks.starts_with('0') && (text.starts_with('-') || text.starts_with('+'));
    if (signs) out.add(text.substr(0, 1));
    if (!behind) out.add(blanks);
    out.add(text.substr(signs ? 1 : 0));
    if (behind) out.add(blanks);
  };
  by_way_of_text(
      out, [&](BoundedText& whole) { write_verb(verb, value, whole); }, pad);
}

Result<GoValue> formatted(Arguments all, uint64_t bytes_max) {
  if (all.empty() || all[0].as_text() == nullptr) return fail("printf wants a format");
  constexpr size_t kWidthMax = 1000;
  const std::string& format = *all[0].as_text();
  BoundedText out(bytes_max);
  size_t next = 1;
  for (size_t i = 0; i < format.size() && !out.is_full(); ++i) {
    if (format[i] != '%') {
      out.add(format[i]);
      continue;
    }
    Verb verb;
    for (++i; i < format.size() && std::string_view("+-# 0").find(format[i]) != std::string_view::npos; ++i)
      verb.flags += format[i];
    const auto number = [&] {
      size_t value = 0;
      for (; i < format.size() && format[i] >= '0' && format[i] <= '9'; ++i)
        value = std::min(value * 10 + static_cast<size_t>(format[i] - '0'), kWidthMax);
      return value;
    };
    if (i < format.size() && format[i] >= '1' && format[i] <= '9') verb.width = number();
    if (i < format.size() && format[i] == '.') {
      ++i;
      verb.precision = number();
    }
    if (i == format.size()) {
      out.add("%!(NOVERB)");
      break;
    }
    verb.letter = format[i];
    if (verb.letter == '%')
      out.add('%');
    else if (next >= all.size())
      out.add(fmt::format("%!{}(MISSING)", verb.letter));
    else
      write_padded(verb, all[next++], out);
  }
  if (next < all.size()) {
    out.add("%!(EXTRA ");
    for (size_t i = next; i < all.size() && !out.is_full(); ++i) {
      out.add(fmt::format("{}{}=", i > next ? ", " : "", all[i].type_name()));
      write_inside(all[i], out);
    }
    out.add(')');
  }
  return text_made(std::move(out), bytes_max);
}

Result<GoValue> escaped(Arguments all, uint64_t bytes_max) {
  std::vector<GoValue> printable(all.begin(), all.end());
  for (GoValue& one : printable)
    if (one.is_nil()) one = GoValue("<no value>");
  ASSIGN_OR_RETURN(const GoValue text, printed(printable, false, bytes_max));
  BoundedText out(bytes_max);
  for (const char c : *text.as_text()) {
    if (out.is_full()) break;
    switch (c) {
      case '<':
        out.add("&lt;");
        break;
      case '>':
        out.add("&gt;");
        break;
      case '&':
        out.add("&amp;");
        break;
      case '"':
        out.add("&#34;");
        break;
      case '\'':
        out.add("&#39;");
        break;
      case '\0':
        out.add("\uFFFD");
        break;
      default:
        out.add(c);
    }
  }
  return text_made(std::move(out), bytes_max);
}

Result<GoValue> marshalled(const GoValue& value, uint64_t bytes_max) {
  BoundedText out(bytes_max);
  value.json(out);
  return text_made(std::move(out), bytes_max);
}

// ---- Ollama's ----

std::string date(std::time_t now) {
  std::tm local{};
  localtime_r(&now, &local);
  return fmt::format("{:04}-{:02}-{:02}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday);
}

const GoValue* field_of(const GoValue& value, std::string_view name) {
  if (value.as_struct() == nullptr) return nullptr;
  for (const GoField& field : value.as_struct()->fields)
    if (field.name == name) return &field.value;
  return nullptr;
}

std::string typescript_name(const std::string& type) {
  if (type == "string" || type == "boolean" || type == "null") return type;
  if (type == "number" || type == "integer") return "number";
  if (type == "array") return "any[]";
  return type == "object" ? "Record<string, any>" : "any";
}

// Of a property of a tool's parameters.
std::string typescript_type(const GoValue& property) {
  const GoValue *any_of = field_of(property, "AnyOf"), *type = field_of(property, "Type");
  std::string out;
  const auto add = [&](const std::string& name) { out += (out.empty() ? "" : " | ") + name; };
  if (any_of != nullptr && any_of->as_list() != nullptr)
    for (const GoValue& one : *any_of->as_list()) add(typescript_type(one));
  if (!out.empty() || type == nullptr) return out.empty() ? "any" : out;
  if (type->as_text() != nullptr) return type->as_text()->empty() ? "any" : typescript_name(*type->as_text());
  if (type->as_list() != nullptr)
    for (const GoValue& one : *type->as_list())
      if (one.as_text() != nullptr) add(typescript_name(*one.as_text()));
  return out.empty() ? "any" : out;
}

}  // namespace

Result<GoValue> call_go_function(const std::string& name, Arguments all, std::time_t now, uint64_t bytes_max) {
  constexpr std::array<std::string_view, 6> kCompare = {"eq", "ne", "lt", "le", "gt", "ge"};
  if (std::find(kCompare.begin(), kCompare.end(), name) != kCompare.end()) return compare(name, all);
  if (name == "len") return length(all);
  if (name == "index") return element(all);
  if (name == "slice") return slice(all);
  if (name == "print" || name == "println") return printed(all, name == "println", bytes_max);
  if (name == "printf") return formatted(all, bytes_max);
  if (name == "html") return escaped(all, bytes_max);
  if (name == "currentDate") return GoValue(date(now));
  if (name == "yesterdayDate") return GoValue(date(now - 24 * 60 * 60));
  if (all.size() != 1) return fail(name + " wants one argument");
  if (name == "not") return GoValue(!all[0].truth());
  if (name == "json") return marshalled(all[0], bytes_max);
  if (name == "toTypeScriptType") return GoValue(typescript_type(all[0]));
  return fail(fmt::format("function \"{}\" is not known", name));
}

}  // namespace spillway
