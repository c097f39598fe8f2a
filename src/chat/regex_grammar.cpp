// SPDX-License-Identifier: MIT
// A recursive descent over the pattern. Characters that JSON must escape ('"', '\', control characters) are written as
// JSON has them; . and negated classes leave them out.
#include "chat/regex_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/utf8.h"
#include "chat/gbnf.h"

namespace spillway {
namespace {

constexpr const char* kAny = R"([^"\\\x00-\x1F\x7F])";
constexpr int kGroupDepthMax = 50;

// A set of characters: ranges for [], and escapes that JSON writes with two characters.
struct CharacterSet {
  std::string ranges;
  std::vector<std::string> escapes;

  void add(char32_t c) {
    switch (c) {
      case '"':
      case '\\':
        escapes.push_back(gbnf_literal(std::string("\\") + static_cast<char>(c)));
        break;
      case '\n':
        escapes.push_back(gbnf_literal("\\n"));
        break;
      case '\t':
        escapes.push_back(gbnf_literal("\\t"));
        break;
      case '\r':
        escapes.push_back(gbnf_literal("\\r"));
        break;
      case '\f':
        escapes.push_back(gbnf_literal("\\f"));
        break;
      default:
        if (c >= 0x20 && c != 0x7f) ranges += gbnf_class_character(c);
    }
  }
  // A range: of the characters that need escapes in it, none.
  void add(char32_t first, char32_t last) {
    const auto part = [&](char32_t from, char32_t to) {
      if (from < to)
        ranges += gbnf_class_character(from) + "-" + gbnf_class_character(to);
      else if (from == to)
        ranges += gbnf_class_character(from);
    };
    char32_t from = std::max<char32_t>(first, 0x20);
    for (const char32_t gap : {char32_t('"'), char32_t('\\'), char32_t(0x7f)})
      if (from <= gap && gap <= last) {
        if (from < gap) part(from, gap - 1);
        from = gap + 1;
      }
    if (from <= last) part(from, last);
  }
  void add_kind(char kind) {
    if (kind == 'd') ranges += "0-9";
    if (kind == 'w') ranges += "0-9a-zA-Z_";
    if (kind == 's') {
      ranges += " ";
      for (const char32_t c : {U'\t', U'\n', U'\r', U'\f'}) add(c);
    }
  }
  std::string expression(bool negated) const {
    // Of a negated class the escapes are left out anyway.
    if (negated) return fmt::format(R"([^"\\\x00-\x1F\x7F{}])", ranges);
    std::vector<std::string> alternatives = escapes;
    if (!ranges.empty()) alternatives.push_back("[" + ranges + "]");
    return alternatives.empty() ? "" : gbnf_any_of(alternatives);
  }
};

class RegexReader {
 public:
  explicit RegexReader(std::string_view pattern) : text_(pattern) {}

  Result<std::string> read() {
    std::vector<std::string> alternatives;
    do {
      const bool from_start = take('^');
      ASSIGN_OR_RETURN(const std::string sequence, read_sequence(0));
      const bool to_end = take('$');
      alternatives.push_back((from_start ? "" : std::string(kAny) + "* ") + sequence +
                             (to_end ? "" : " " + std::string(kAny) + "*"));
    } while (take('|'));
    if (at_ < text_.size()) return fail(text_[at_] == ')' ? ") without (" : "$ within");
    return gbnf_any_of(alternatives);
  }

 private:
  Failure fail(const std::string& what, Code code = Code::kUnsupported) const {
    return error(code, fmt::format("the pattern {}: {}", shortened(text_), what));
  }
  bool at_end() const { return at_ >= text_.size(); }
  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Result<std::string> read_alternatives(int depth) {
    std::vector<std::string> alternatives;
    do {
      ASSIGN_OR_RETURN(std::string sequence, read_sequence(depth));
      alternatives.push_back(std::move(sequence));
    } while (take('|'));
    return "(" + gbnf_any_of(alternatives) + ")";
  }

  Result<std::string> read_sequence(int depth) {
    if (depth > kGroupDepthMax) return fail("nested too deeply");
    std::string sequence;
    while (!at_end() && text_[at_] != '|' && text_[at_] != ')' && text_[at_] != '$') {
      ASSIGN_OR_RETURN(const std::string atom, read_atom(depth));
      ASSIGN_OR_RETURN(const std::string counted, read_count(atom));
      sequence += (sequence.empty() ? "" : " ") + counted;
    }
    return sequence.empty() ? "\"\"" : sequence;
  }

  Result<std::string> read_atom(int depth) {
    const char c = text_[at_++];
    switch (c) {
      case '.':
        return std::string(kAny);
      case '[':
        return read_class();
      case '(': {
        if (take('?') && !take(':')) return fail("look-around and named groups cannot be expressed");
        ASSIGN_OR_RETURN(std::string group, read_alternatives(depth + 1));
        if (!take(')')) return fail("( without )", Code::kInvalidArgument);
        return group;
      }
      case '^':
        return fail("^ within");
      case '*':
      case '+':
      case '?':
      case '{':
        return fail(fmt::format("nothing to repeat before {}", c), Code::kInvalidArgument);
      default:
        break;
    }
    CharacterSet set;
    if (c != '\\') {
      --at_;
      set.add(next_character());
      return set.expression(false);
    }
    if (at_end()) return fail("ends with \\", Code::kInvalidArgument);
    const char kind = text_[at_];
    if (kind == 'D' || kind == 'W' || kind == 'S') {
      ++at_;
      set.add_kind(static_cast<char>(kind - 'A' + 'a'));
      return set.expression(true);
    }
    if (kind == 'd' || kind == 'w' || kind == 's') {
      ++at_;
      set.add_kind(kind);
      return set.expression(false);
    }
    ASSIGN_OR_RETURN(const char32_t escaped, read_escape());
    set.add(escaped);
    return set.expression(false);
  }

  Result<std::string> read_class() {
    const bool negated = take('^');
    CharacterSet set;
    while (true) {
      if (at_end()) return fail("[ without ]", Code::kInvalidArgument);
      if (take(']')) break;
      if (text_[at_] == '\\' && at_ + 1 < text_.size() &&
          std::string_view("dws").find(text_[at_ + 1]) != std::string_view::npos) {
        set.add_kind(text_[at_ + 1]);
        at_ += 2;
        continue;
      }
      ASSIGN_OR_RETURN(const char32_t first, read_class_character());
      if (at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        ++at_;
        ASSIGN_OR_RETURN(const char32_t last, read_class_character());
        if (last < first) return fail("a range that ends before it begins", Code::kInvalidArgument);
        set.add(first, last);
      } else {
        set.add(first);
      }
    }
    const std::string expression = set.expression(negated);
    if (expression.empty()) return fail("an empty class", Code::kInvalidArgument);
    return expression;
  }

  Result<char32_t> read_class_character() {
    if (!take('\\')) return next_character();
    if (at_end()) return fail("ends with \\", Code::kInvalidArgument);
    return read_escape();
  }

  // Behind a backslash.
  Result<char32_t> read_escape() {
    const char c = text_[at_++];
    switch (c) {
      case 'n':
        return U'\n';
      case 't':
        return U'\t';
      case 'r':
        return U'\r';
      case 'f':
        return U'\f';
      case 'x':
        return read_hex(2);
      case 'u':
        return read_hex(4);
      default:
        break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) return fail(fmt::format("\\{} cannot be expressed", c));
    return static_cast<char32_t>(static_cast<unsigned char>(c));
  }

  Result<char32_t> read_hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const std::string_view kDigits = "0123456789abcdefABCDEF";
      const size_t found = at_end() ? std::string_view::npos : kDigits.find(text_[at_++]);
      if (found == std::string_view::npos) return fail("an escape without its digits", Code::kInvalidArgument);
      value = value * 16 + static_cast<uint32_t>(found < 16 ? found : found - 6);
    }
    return static_cast<char32_t>(value);
  }

  char32_t next_character() {
    const auto byte = static_cast<unsigned char>(text_[at_]);
    const size_t size = byte >= 0xF0u ? 4 : byte >= 0xE0u ? 3 : byte >= 0xC0u ? 2 : 1;
    char32_t c = size == 1 ? byte : byte & (0xFFu >> (size + 1));
    for (size_t k = 1; k < size && at_ + k < text_.size(); ++k)
      c = (c << 6u) | (static_cast<unsigned char>(text_[at_ + k]) & 0x3Fu);
    at_ = std::min(text_.size(), at_ + size);
    return c;
  }

  Result<std::string> read_count(const std::string& atom) {
    std::string counted;
    if (take('*'))
      counted = gbnf_repeat(atom, 0, std::nullopt);
    else if (take('+'))
      counted = gbnf_repeat(atom, 1, std::nullopt);
    else if (take('?'))
      counted = gbnf_repeat(atom, 0, 1);
    else if (take('{')) {
      ASSIGN_OR_RETURN(counted, read_braces(atom));
    } else {
      return atom;
    }
    take('?');  // lazy: it is the same text that matches
    if (!at_end() && std::string_view("*+?{").find(text_[at_]) != std::string_view::npos)
      return fail("a repetition of a repetition", Code::kInvalidArgument);
    return counted;
  }

  // {m} {m,} {m,n}
  Result<std::string> read_braces(const std::string& atom) {
    const size_t end = text_.find('}', at_);
    if (end == std::string_view::npos) return fail("{ without }", Code::kInvalidArgument);
    const std::string_view inside = text_.substr(at_, end - at_);
    at_ = end + 1;
    const size_t comma = inside.find(',');
    const auto number = [](std::string_view digits) -> std::optional<uint64_t> {
      if (digits.empty() || digits.size() > 6) return std::nullopt;
      uint64_t value = 0;
      for (const char c : digits) {
        if (c < '0' || c > '9') return std::nullopt;
        value = value * 10 + static_cast<uint64_t>(c - '0');
      }
      return value;
    };
    const auto min = number(inside.substr(0, comma));
    const bool open = comma == inside.size() - 1;
    const auto max = comma == std::string_view::npos ? min : number(inside.substr(comma + 1));
    if (!min || (!max && !open) || (max && *max < *min)) return fail("a count that is none", Code::kInvalidArgument);
    if (*min > kGbnfRepeatMax || (max && *max > kGbnfRepeatMax))
      return fail(fmt::format("more than {} repetitions", kGbnfRepeatMax));
    return gbnf_repeat(atom, *min, max);
  }

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Result<std::string> grammar_of_regex(std::string_view pattern) { return RegexReader(pattern).read(); }

}  // namespace spillway
