// SPDX-License-Identifier: MIT
#include "chat/json_text.h"

#include <nlohmann/json.hpp>

#include "base/json_writer.h"

namespace spillway {
namespace {

// Behind the string that begins at `at`; npos: it does not end.
size_t string_end(std::string_view text, size_t at) {
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      return i + 1;
  }
  return std::string_view::npos;
}

size_t skip_blanks(std::string_view text, size_t at) {
  while (at < text.size() && is_blank(text[at])) ++at;
  return at;
}

// Behind the value that begins at `at`, in valid JSON.
size_t value_end(std::string_view text, size_t at) {
  if (text[at] == '"') return string_end(text, at);
  if (text[at] == '{' || text[at] == '[') return at + *bracketed_size(text.substr(at));
  while (at < text.size() && text[at] != ',' && text[at] != '}' && text[at] != ']' && !is_blank(text[at])) ++at;
  return at;
}

}  // namespace

std::optional<size_t> bracketed_size(std::string_view text) {
  size_t depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    switch (text[i]) {
      case '"': {
        const size_t end = string_end(text, i);
        if (end == std::string_view::npos) return std::nullopt;
        i = end - 1;
        break;
      }
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        if (depth <= 1) return i + 1;
        --depth;
        break;
      default:
        break;
    }
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string_view>> members_of(std::string_view object) {
  std::vector<std::pair<std::string, std::string_view>> members;
  object = without_blanks(object);
  if (!is_json_object(object)) return members;
  for (size_t at = skip_blanks(object, 1); object[at] != '}';) {
    const size_t key_end = string_end(object, at);
    std::string key = *string_of(object.substr(at, key_end - at));
    at = skip_blanks(object, object.find(':', key_end) + 1);
    const size_t end = value_end(object, at);
    members.emplace_back(std::move(key), object.substr(at, end - at));
    at = skip_blanks(object, end);
    if (object[at] == ',') at = skip_blanks(object, at + 1);
  }
  return members;
}

std::vector<std::string_view> elements_of(std::string_view list) {
  std::vector<std::string_view> elements;
  list = without_blanks(list);
  if (!list.starts_with('[') || !is_json(list)) return elements;
  for (size_t at = skip_blanks(list, 1); list[at] != ']';) {
    const size_t end = value_end(list, at);
    elements.push_back(list.substr(at, end - at));
    at = skip_blanks(list, end);
    if (list[at] == ',') at = skip_blanks(list, at + 1);
  }
  return elements;
}

std::optional<std::string> string_of(std::string_view json) {
  const auto value = nlohmann::json::parse(json, nullptr, false);
  if (!value.is_string()) return std::nullopt;
  return value.get<std::string>();
}

std::string json_string(std::string_view text) { return write_json(nlohmann::json(text)); }

bool nests_deeper(std::string_view text, size_t depth_max) {
  size_t depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      const size_t end = string_end(text, i);
      if (end == std::string_view::npos) return false;
      i = end - 1;
    } else if (text[i] == '{' || text[i] == '[') {
      if (++depth > depth_max) return true;
    } else if ((text[i] == '}' || text[i] == ']') && depth > 0) {
      --depth;
    }
  }
  return false;
}

bool is_json(std::string_view text) { return !nests_deeper(text) && nlohmann::json::accept(text); }
bool is_json_object(std::string_view text) { return without_blanks(text).starts_with('{') && is_json(text); }

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace spillway
