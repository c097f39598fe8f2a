// SPDX-License-Identifier: MIT
#include "chat/mark_text.h"

#include <algorithm>

#include "chat/json_text.h"

namespace spillway {
namespace {

constexpr size_t kMarkBytesMax = 96;

// A mark may begin here: "<" and what is neither blank nor part of a comparison; "[" and a capital letter.
bool opens_mark(std::string_view text, size_t at) {
  if (at + 1 >= text.size()) return text[at] == '<';
  const char next = text[at + 1];
  const auto is_capital = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (text[at] == '[') return is_capital(next) || (next == '/' && at + 2 < text.size() && is_capital(text[at + 2]));
  constexpr std::string_view kNone = "=<>[]\"'0123456789";
  return text[at] == '<' && !is_blank(next) && kNone.find(next) == std::string_view::npos;
}

// Behind the mark that begins at `at`; npos: it is not closed.
size_t mark_end(std::string_view text, size_t at) {
  const char close = text[at] == '<' ? '>' : ']';
  for (size_t i = at + 1; i < std::min(text.size(), at + kMarkBytesMax); ++i) {
    if (text[i] == '\n') break;
    if (text[i] == close) return i + 1;
  }
  return std::string_view::npos;
}

}  // namespace

size_t mark_start(std::string_view text, size_t at) {
  for (size_t i = at; i-- > 0 && at - i < kMarkBytesMax;) {
    if (text[i] == '\n') break;
    if (!opens_mark(text, i)) continue;
    const size_t end = mark_end(text, i);
    if (end <= at) break;  // closed before
    return i;
  }
  return at;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const auto size = static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  if (size == a.size() && size == b.size()) return size;
  // Where one of them ends, that is no cut of its mark, but it may be one of the other's.
  size_t start = size;
  if (size < a.size()) start = std::min(start, mark_start(a, size));
  if (size < b.size()) start = std::min(start, mark_start(b, size));
  return start;
}

size_t common_suffix(std::string_view a, std::string_view b) {
  size_t size = 0;
  while (size < std::min(a.size(), b.size()) && a[a.size() - 1 - size] == b[b.size() - 1 - size]) ++size;
  const auto cut = [&](std::string_view text) {
    const size_t at = text.size() - size, start = mark_start(text, at);
    if (start == at) return size;
    const size_t end = mark_end(text, start);
    return end == std::string_view::npos ? 0 : text.size() - end;
  };
  while (size > 0) {
    const size_t less = std::min(cut(a), cut(b));
    if (less == size) break;
    size = less;
  }
  return size;
}

std::vector<std::string> tokens_of(std::string_view text) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < text.size();) {
    if (is_blank(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    const size_t end = opens_mark(text, i) ? mark_end(text, i) : std::string_view::npos;
    if (end != std::string_view::npos) {
      i = end;
    } else {
      for (++i; i < text.size() && !is_blank(text[i]) && !opens_mark(text, i);) ++i;
    }
    tokens.emplace_back(text.substr(begin, i - begin));
  }
  return tokens;
}

bool begins_with_mark(std::string_view text) {
  text = without_blanks(text);
  if (text.size() < 2) return false;
  if (opens_mark(text, 0)) return true;
  // Other signs that no text begins with.
  const std::string token = tokens_of(text).front();
  constexpr std::string_view kSigns = "<>[]|";
  return token.size() >= 4 && kSigns.find(token[0]) != std::string_view::npos &&
         token.find_first_of("{\"'(") == std::string::npos;
}

std::string trimmed(std::string_view text) { return std::string(without_blanks(text)); }

}  // namespace spillway
