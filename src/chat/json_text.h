// SPDX-License-Identifier: MIT
// Finds the parts of JSON text without changing a byte of them. For text that a model is still writing. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spillway {

// The length of the object or list that `text` begins with; nullopt: it is not closed yet. Brackets and strings are
// counted, nothing else is checked.
std::optional<size_t> bracketed_size(std::string_view text);

// The members of an object, the elements of a list: keys as text, values as they are written. Empty when `text` is not
// valid JSON of that kind.
std::vector<std::pair<std::string, std::string_view>> members_of(std::string_view object);
std::vector<std::string_view> elements_of(std::string_view list);

// The text of a JSON string; nullopt: `json` is something else.
std::optional<std::string> string_of(std::string_view json);

// JSON text of a string; invalid UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);

// Not nested deeper than what reads and prints JSON by recursion can take.
bool is_json(std::string_view text);
bool is_json_object(std::string_view text);

// Objects and lists within each other, more than `depth_max` of them. `text` need not be JSON.
constexpr size_t kJsonDepthMax = 128;  // far beyond any schema or call in use
bool nests_deeper(std::string_view text, size_t depth_max = kJsonDepthMax);

constexpr bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
std::string_view without_blanks(std::string_view text);  // at both ends

}  // namespace spillway
