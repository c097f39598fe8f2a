// SPDX-License-Identifier: MIT
#include "base/jinja_text.h"

#include <algorithm>
#include <array>

namespace spillway {
namespace {

// What no expression of Jinja's begins with.
bool begins_as_go(std::string_view action) {
  if (action.starts_with('.') || action.starts_with('$') || action.starts_with("/*")) return true;
  constexpr std::array<std::string_view, 27> kWords = {
      "if",       "else",  "end",   "range",  "with",    "define", "template", "block",       "break",
      "continue", "json",  "len",   "eq",     "ne",      "lt",     "le",       "gt",          "ge",
      "index",    "slice", "print", "printf", "println", "and",    "or",       "currentDate", "yesterdayDate"};
  // No farther than where the next action may begin: a text of braces alone would be gone through for each of them.
  const std::string_view word = action.substr(0, action.find_first_of(" \t\r\n-{}"));
  // A function and its argument.
  const size_t next = action.find_first_not_of(" \t\r\n", word.size());
  if (next != std::string_view::npos && next > word.size() && (action[next] == '.' || action[next] == '$')) return true;
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

}  // namespace

// Go has no statements in {% %}, and names what it is given with a dot in front.
bool is_jinja(std::string_view template_text) {
  if (template_text.find("{%") != std::string_view::npos) return true;
  bool names = false;
  for (size_t at = template_text.find("{{"); at != std::string_view::npos; at = template_text.find("{{", at + 2)) {
    std::string_view action = template_text.substr(at + 2);
    if (action.starts_with('-')) action.remove_prefix(1);
    action.remove_prefix(std::min(action.find_first_not_of(" \t\r\n"), action.size()));
    if (begins_as_go(action)) return false;
    names = names || (!action.empty() && is_letter(action.front()));
  }
  return names;
}

}  // namespace spillway
