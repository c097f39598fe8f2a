// SPDX-License-Identifier: MIT
#include "chat/value_text.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "chat/json_text.h"
#include "chat/text_tail.h"

namespace spillway {
namespace {

using Outcome = ValueAttempt::Outcome;

void append_utf8(uint32_t code, std::string& out) {
  const auto byte = [&](uint32_t value) { out += static_cast<char>(value); };
  if (code < 0x80) return byte(code);
  if (code < 0x800) {
    byte(0xC0u | (code >> 6u));
  } else if (code < 0x10000) {
    byte(0xE0u | (code >> 12u));
    byte(0x80u | ((code >> 6u) & 0x3Fu));
  } else {
    byte(0xF0u | (code >> 18u));
    byte(0x80u | ((code >> 12u) & 0x3Fu));
    byte(0x80u | ((code >> 6u) & 0x3Fu));
  }
  byte(0x80u | (code & 0x3Fu));
}

std::optional<uint32_t> hex(std::string_view text, size_t at, size_t digits) {
  if (at + digits > text.size()) return std::nullopt;
  uint32_t value = 0;
  for (size_t i = at; i < at + digits; ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  return value;
}

constexpr bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '+' || c == '-';
}

}  // namespace

std::string word_json(std::string_view word, const ValueSyntax& syntax) {
  const auto any_of = [&](std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  if (any_of({"true", "True", syntax.true_word})) return "true";
  if (any_of({"false", "False", syntax.false_word})) return "false";
  if (any_of({"null", "None", syntax.null_word})) return "null";
  if (is_json(word)) return std::string(word);
  // 1. and .5 and +1
  std::string number(word);
  if (number.starts_with('+')) number.erase(0, 1);
  if (number.starts_with('.')) number.insert(0, "0");
  if (number.ends_with('.')) number += '0';
  return !number.empty() && number[0] != '"' && is_json(number) ? number : "";
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char c = text[++i];
    constexpr std::string_view kNames = "ntrbfav0", kMeanings("\n\t\r\b\f\a\v\0", 8);
    const size_t named = kNames.find(c);
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    auto code = digits > 0 ? hex(text, i + 1, digits) : std::nullopt;
    if (code) {
      i += digits;
      // A pair of halves, as JSON writes what is beyond 16 bits.
      if (*code >= 0xD800 && *code < 0xDC00 && text.substr(i + 1).starts_with("\\u")) {
        const auto low = hex(text, i + 3, 4);
        if (low && *low >= 0xDC00 && *low < 0xE000) {
          code = 0x10000 + ((*code - 0xD800) << 10u) + (*low - 0xDC00);
          i += 6;
        }
      }
      append_utf8(*code < 0x110000 && (*code < 0xD800 || *code >= 0xE000) ? *code : 0xFFFD, out);
    } else if (named != std::string_view::npos) {
      out += kMeanings[named];
    } else if (c == '\'' || c == '"' || c == '\\' || c == '/') {
      out += c;
    } else if (c != '\n') {  // a line that goes on
      out += '\\';
      out += c;
    }
  }
  return out;
}

namespace {

class Reader {
 public:
  Reader(std::string_view text, const ValueSyntax& syntax, bool words_are_text = false)
      : text_(text), syntax_(syntax), words_are_text_(words_are_text) {}

  ValueAttempt run(std::string_view stop = {}) {
    const Outcome outcome = value(0, stop);
    if (outcome != Outcome::kValue) return {outcome};
    return {outcome, at_, std::move(json_)};
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }
  bool at_end() const { return at_ == text_.size(); }
  void skip_blanks() { at_ += blanks_before(rest()); }
  bool take(std::string_view part) {
    if (!rest().starts_with(part)) return false;
    at_ += part.size();
    return true;
  }
  bool could_take(std::string_view part) const { return rest().size() < part.size() && part.starts_with(rest()); }

  // `stop`: what ends a value that is written without quotes, where the marks are such.
  Outcome value(size_t depth, std::string_view stop) {
    if (depth > kJsonDepthMax) return Outcome::kNone;
    if (syntax_.nested == ValueSyntax::Nested::kMarked && !syntax_.quotes_text()) return raw_value(depth, stop);
    skip_blanks();
    if (at_end()) return Outcome::kMore;
    const bool marked = syntax_.nested == ValueSyntax::Nested::kMarked;
    if (marked && take(syntax_.text_open)) return marked_text();
    if (marked && could_take(syntax_.text_open)) return Outcome::kMore;
    const char c = text_[at_];
    if (c == '"' || c == '\'') return quoted();
    if (marked && rest().starts_with(syntax_.object.begin)) return marked_items(syntax_.object, depth, stop);
    if (marked && rest().starts_with(syntax_.list.begin)) return marked_items(syntax_.list, depth, stop);
    if (c == '{') return items('}', true, depth);
    if (c == '[') return items(']', false, depth);
    if (c == '(') return items(')', false, depth);
    return word();
  }

  Outcome quoted() {
    const char quote = text_[at_];
    for (size_t i = at_ + 1; i < text_.size(); ++i) {
      if (text_[i] == '\\')
        ++i;
      else if (text_[i] == quote) {
        json_ += json_string(unescaped(text_.substr(at_ + 1, i - at_ - 1)));
        at_ = i + 1;
        return Outcome::kValue;
      }
    }
    return Outcome::kMore;
  }

  Outcome word() {
    const size_t begin = at_;
    while (!at_end() && is_word_character(text_[at_])) ++at_;
    if (at_end()) return Outcome::kMore;
    const std::string json = word_json(text_.substr(begin, at_ - begin), syntax_);
    if (json.empty()) return Outcome::kNone;
    json_ += json;
    return Outcome::kValue;
  }

  // Of a list, a tuple or a dict.
  Outcome items(char close, bool keyed, size_t depth) {
    ++at_;
    json_ += keyed ? '{' : '[';
    for (bool first = true;; first = false) {
      skip_blanks();
      if (at_end()) return Outcome::kMore;
      if (text_[at_] == close) {
        ++at_;
        json_ += keyed ? '}' : ']';
        return Outcome::kValue;
      }
      if (!first) {
        if (!take(",")) return Outcome::kNone;
        skip_blanks();
        if (at_end()) return Outcome::kMore;
        if (text_[at_] == close) continue;  // a comma at the end
        json_ += ", ";
      }
      if (keyed) {
        if (text_[at_] != '"' && text_[at_] != '\'') return Outcome::kNone;
        if (const Outcome key = quoted(); key != Outcome::kValue) return key;
        skip_blanks();
        if (at_end()) return Outcome::kMore;
        if (!take(":")) return Outcome::kNone;
        json_ += ": ";
      }
      if (const Outcome one = value(depth + 1, {}); one != Outcome::kValue) return one;
    }
  }

  Outcome marked_text() {
    const size_t end = text_.find(syntax_.text_close, at_);
    if (end == std::string_view::npos) return Outcome::kMore;
    json_ += json_string(text_.substr(at_, end - at_));
    at_ = end + syntax_.text_close.size();
    return Outcome::kValue;
  }

  // Items, or text up to `stop`.
  Outcome raw_value(size_t depth, std::string_view stop) {
    if (could_take(stop)) return Outcome::kMore;
    if (rest().starts_with(stop)) {
      json_ += "\"\"";
      return Outcome::kValue;
    }
    for (const MarkedItems* items : {&syntax_.list, &syntax_.object}) {
      const std::string open = opening(*items);
      if (open.empty()) continue;
      if (rest().starts_with(open)) return marked_items(*items, depth, stop);
      if (could_take(open)) return Outcome::kMore;
    }
    const size_t end = text_.find(stop, at_);
    if (end == std::string_view::npos) return Outcome::kMore;
    const std::string_view text = text_.substr(at_, end - at_);
    const std::string word = words_are_text_ ? "" : word_json(without_blanks(text), syntax_);
    json_ += word.empty() || word[0] == '"' ? json_string(text) : word;
    at_ = end;
    return Outcome::kValue;
  }

  static std::string opening(const MarkedItems& items) {
    return items.begin + items.key.substr(0, items.key.find(placeholder::kKey));
  }
  static std::string with_key(const Pattern& pattern, std::string_view key) {
    std::string text;
    for (const char c : pattern)
      if (c == placeholder::kKey)
        text += key;
      else
        text += c;
    return text;
  }

  Outcome marked_items(const MarkedItems& items, size_t depth, std::string_view stop) {
    const bool keyed = items.key.find(placeholder::kKey) != std::string::npos;
    const std::string lead = items.key.substr(0, items.key.find(placeholder::kKey));
    json_ += keyed ? '{' : '[';
    take(items.begin);
    for (bool first = true;; first = false) {
      const size_t before = at_;
      // 1. Is there another one?
      skip_blanks();
      const std::string_view close = items.end.empty() ? stop : std::string_view(items.end);
      if (at_end() || could_take(close)) return Outcome::kMore;
      if (rest().starts_with(close)) {
        if (!items.end.empty()) take(close);
        break;
      }
      if (!first) {
        if (could_take(without_blanks(items.between))) return Outcome::kMore;
        if (!take(without_blanks(items.between))) return Outcome::kNone;
        json_ += ", ";
        skip_blanks();
      }
      // 2. Its key.
      if (could_take(lead)) return Outcome::kMore;
      if (!take(lead)) return Outcome::kNone;
      std::string key;
      if (keyed) {
        const std::string colon = items.key.substr(lead.size() + 1);
        const size_t end = text_.find(colon, at_);
        if (end == std::string_view::npos) return Outcome::kMore;
        key = without_blanks(text_.substr(at_, end - at_));
        at_ = end + colon.size();
        if (key.size() > 1 && (key[0] == '"' || key[0] == '\'') && key.back() == key[0])
          key = key.substr(1, key.size() - 2);
        json_ += json_string(key) + ": ";
      }
      // 3. Its value, and what ends that.
      const std::string value_end = with_key(items.value_end, key);
      if (const Outcome one = value(depth + 1, value_end); one != Outcome::kValue) return one;
      if (could_take(value_end)) return Outcome::kMore;
      if (!take(value_end)) return Outcome::kNone;
      if (at_ == before) return Outcome::kNone;  // of such there are any number
    }
    json_ += keyed ? '}' : ']';
    return Outcome::kValue;
  }

  const std::string_view text_;
  const ValueSyntax& syntax_;
  const bool words_are_text_;
  size_t at_ = 0;
  std::string json_;
};

}  // namespace

ValueAttempt read_literal(std::string_view text) {
  static const ValueSyntax kPython{.nested = ValueSyntax::Nested::kPython};
  return Reader(text, kPython).run();
}

ValueAttempt read_marked(std::string_view text, const ValueSyntax& syntax) { return Reader(text, syntax).run(); }

std::string whole_literal(std::string_view text) {
  static const ValueSyntax kPython{.nested = ValueSyntax::Nested::kPython};
  return whole_marked(text, kPython);
}

// What follows the value shows where it ends.
std::string whole_marked(std::string_view text, const ValueSyntax& syntax, bool words_are_text) {
  constexpr std::string_view kEnd("\0", 1);
  const std::string closed = std::string(without_blanks(text)) + std::string(kEnd);
  const bool raw = syntax.nested == ValueSyntax::Nested::kMarked && !syntax.quotes_text();
  ValueAttempt attempt = Reader(closed, syntax, words_are_text).run(raw ? kEnd : std::string_view());
  if (attempt.outcome != ValueAttempt::kValue || attempt.size + 1 != closed.size() || !is_json(attempt.json)) return "";
  return std::move(attempt.json);
}

}  // namespace spillway
