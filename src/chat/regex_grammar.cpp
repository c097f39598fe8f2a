// SPDX-License-Identifier: MIT
// A recursive descent over the pattern. Characters that JSON must escape ('"', '\', control characters) are written as
// JSON has them; . and negated classes leave them out.
//
// The pattern is read with the u flag, as JSON Schema wants it: characters are code points. What that flag forbids and
// ECMA 262 allows without it (annex B: "{" or "]" as itself, [\d-x]) is read so, or is Unsupported.
#include "chat/regex_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "chat/gbnf.h"

namespace spillway {
namespace {

constexpr const char* kAny = R"([^"\\\x00-\x1F\x7F])";
constexpr int kGroupDepthMax = 50;
constexpr char32_t kLastCharacter = 0x10FFFF;

using Range = std::pair<char32_t, char32_t>;  // [first, last]
using Ranges = std::vector<Range>;

constexpr Range kEscaped[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0x7F, 0x7F}};
constexpr Range kSurrogates[] = {{0xD800, 0xDFFF}};  // no text has them
constexpr Range kDigits[] = {{'0', '9'}};
constexpr Range kWord[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
constexpr Range kSpace[] = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                            {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
constexpr Range kLineEnds[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

Ranges joined(Ranges a, std::span<const Range> b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Ranges all_but(std::span<const Range> ranges) {
  Ranges sorted(ranges.begin(), ranges.end()), out;
  std::sort(sorted.begin(), sorted.end());
  char32_t next = 0;
  for (const auto& [first, last] : sorted) {
    if (first > next) out.emplace_back(next, first - 1);
    next = std::max<char32_t>(next, last + 1);
  }
  if (next <= kLastCharacter) out.emplace_back(next, kLastCharacter);
  return out;
}

bool contains(std::span<const Range> ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const auto& range) { return range.first <= c && c <= range.second; });
}

// For between [ and ].
std::string class_text(std::span<const Range> ranges) {
  std::string out;
  for (const auto& [first, last] : ranges)
    out += gbnf_class_character(first) + (first < last ? "-" + gbnf_class_character(last) : "");
  return out;
}

struct CharacterSet {
  Ranges named;   // as JSON has them, with escapes
  Ranges others;  // known by what they are not: without those that JSON must escape

  void add(char32_t first, char32_t last) { named.emplace_back(first, last); }
  // Of \d \D \w \W \s \S.
  void add_kind(char kind) {
    const char small = static_cast<char>(kind | 0x20);
    const auto ranges = small == 'd'   ? std::span<const Range>(kDigits)
                        : small == 'w' ? std::span<const Range>(kWord)
                                       : std::span<const Range>(kSpace);
    if (kind == small)
      named = joined(std::move(named), ranges);
    else
      others = joined(std::move(others), all_but(ranges));
  }
  void negate() { others = all_but(joined(std::exchange(named, {}), others)); }

  // Empty where there is no such character.
  std::string expression() const {
    std::vector<std::string> alternatives;
    const Ranges raw_not = joined(all_but(joined(named, others)), kEscaped);
    if (contains(others, kLastCharacter) || contains(named, kLastCharacter))
      alternatives.push_back("[^" + class_text(all_but(all_but(raw_not))) + "]");
    else if (const Ranges raw = all_but(joined(raw_not, kSurrogates)); !raw.empty())
      alternatives.push_back("[" + class_text(raw) + "]");
    add_escapes(alternatives);
    return alternatives.empty() ? "" : gbnf_any_of(alternatives);
  }

 private:
  // \n and the like, else \u00XX.
  void add_escapes(std::vector<std::string>& alternatives) const {
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kWritten = "\"\\bfnrt";
    std::string letters;
    for (size_t i = 0; i < kShort.size(); ++i)
      if (contains(named, static_cast<unsigned char>(kShort[i])))
        letters += gbnf_class_character(static_cast<unsigned char>(kWritten[i]));
    if (!letters.empty()) alternatives.push_back(fmt::format(R"("\\" [{}])", letters));
    for (const char32_t row : {0x00u, 0x10u, 0x70u}) {
      std::string digits;
      for (char32_t c = row; c < row + 16; ++c) {
        const bool is_long = (c < 0x20 || c == 0x7F) && kShort.find(static_cast<char>(c)) == std::string_view::npos;
        if (!is_long || !contains(named, c)) continue;
        digits += fmt::format("{:x}", c - row);
        if (c - row > 9) digits += fmt::format("{:X}", c - row);
      }
      if (!digits.empty()) alternatives.push_back(fmt::format(R"("\\u00{:x}" [{}])", row >> 4u, digits));
    }
  }
};

// What part of a pattern may be, by where that must stand: of the text's beginning and its end none, either or both.
// nullopt: nothing is so.
enum Anchors : size_t { kFree = 0, kFromStart = 1, kToEnd = 2 };
struct Ways {
  std::array<std::optional<std::string>, 4> texts;

  bool has(size_t anchor) const {
    for (size_t anchors = 0; anchors < texts.size(); ++anchors)
      if ((anchors & anchor) != 0 && texts[anchors]) return true;
    return false;
  }
  bool is_free() const { return !has(kFromStart) && !has(kToEnd); }
};

void append(std::string& sequence, const std::string& next) { sequence += (sequence.empty() ? "" : " ") + next; }

// One behind the other.
Ways sequence_of(Ways first, const Ways& second) {
  if (second.is_free()) {
    for (auto& text : first.texts)
      if (text) append(*text, *second.texts[kFree]);
    return first;
  }
  // Of the first part none goes to the end, so each place is met once.
  Ways both;
  for (const size_t a : {kFree, kFromStart})
    for (size_t b = 0; b < second.texts.size(); ++b) {
      if (!first.texts[a] || !second.texts[b]) continue;
      std::string text = *first.texts[a];
      append(text, *second.texts[b]);
      auto& place = both.texts[a | b];
      place = place ? gbnf_any_of({*place, text}) : text;
    }
  return both;
}

// What stands there so anyway, and what does not, at that place too.
Ways anchored(Ways ways, size_t anchor) {
  Ways out;
  for (size_t anchors = 0; anchors < ways.texts.size(); ++anchors) {
    auto& place = out.texts[anchors | anchor];
    if (auto& text = ways.texts[anchors]) place = place ? gbnf_any_of({*place, *text}) : std::move(*text);
  }
  return out;
}

class RegexReader {
 public:
  explicit RegexReader(std::string_view pattern) : text_(pattern) {}

  Result<std::string> read() {
    ASSIGN_OR_RETURN(const Ways ways, read_alternatives(0));
    if (!at_end()) return fail(") without (", Code::kInvalidArgument);
    std::vector<std::string> alternatives;
    for (size_t anchors = 0; anchors < ways.texts.size(); ++anchors)
      if (const auto& text = ways.texts[anchors])
        alternatives.push_back(((anchors & kFromStart) != 0 ? "" : std::string(kAny) + "* ") + *text +
                               ((anchors & kToEnd) != 0 ? "" : " " + std::string(kAny) + "*"));
    return gbnf_any_of(alternatives);
  }

 private:
  Failure fail(const std::string& what, Code code = Code::kUnsupported) const {
    return error(code, fmt::format("the pattern {}: {}", shortened(text_), what));
  }
  bool at_end() const { return at_ >= text_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take_all(char c) {
    const size_t begin = at_;
    while (take(c)) continue;
    return at_ > begin;
  }
  bool ends_alternative() const { return at_end() || text_[at_] == '|' || text_[at_] == ')'; }

  Result<Ways> read_alternatives(int depth) {
    if (depth > kGroupDepthMax) return fail("nested too deeply");
    std::array<std::vector<std::string>, 4> alternatives;
    do {
      ASSIGN_OR_RETURN(Ways ways, read_sequence(depth));
      for (size_t anchors = 0; anchors < alternatives.size(); ++anchors)
        if (auto& text = ways.texts[anchors])
          alternatives[anchors].push_back(text->empty() ? "\"\"" : std::move(*text));
    } while (take('|'));
    Ways all;
    for (size_t anchors = 0; anchors < alternatives.size(); ++anchors)
      if (!alternatives[anchors].empty()) all.texts[anchors] = gbnf_any_of(alternatives[anchors]);
    return all;
  }

  // Anchors count at its ends, and there within groups too: (^|,)a($|,).
  Result<Ways> read_sequence(int depth) {
    Ways sequence;
    sequence.texts[kFree] = "";
    const bool from_start = take_all('^');
    for (bool is_first = true; !ends_alternative() && text_[at_] != '$'; is_first = false) {
      if (sequence.has(kToEnd)) return fail("$ within");
      ASSIGN_OR_RETURN(const Ways part, read_part(depth));
      if (part.has(kFromStart) && !is_first) return fail("^ within");
      sequence = sequence_of(std::move(sequence), part);
      for (const auto& text : sequence.texts)
        if (text && text->size() > kGbnfBytesMax) return fail("its grammar is too large");
    }
    if (take_all('$')) sequence = anchored(std::move(sequence), kToEnd);
    if (!ends_alternative()) return fail("$ within");
    return from_start ? anchored(std::move(sequence), kFromStart) : sequence;
  }

  Result<Ways> read_part(int depth) {
    if (!take('(')) {
      Ways part;
      ASSIGN_OR_RETURN(part.texts[kFree], read_atom());
      return read_count(std::move(part));
    }
    if (take('?')) RETURN_IF_ERROR(read_group_kind());
    ASSIGN_OR_RETURN(Ways group, read_alternatives(depth + 1));
    if (!take(')')) return fail("( without )", Code::kInvalidArgument);
    return read_count(std::move(group));
  }

  // Behind "(?". A name changes nothing: what could refer to it is refused.
  Result<void> read_group_kind() {
    if (take(':')) return {};
    const size_t end = text_.find('>', at_);
    const bool is_named = peek() == '<' && peek(1) != '=' && peek(1) != '!' && end != std::string_view::npos;
    if (!is_named) return fail("look-around and flags of groups cannot be expressed");
    const std::string_view name = text_.substr(at_ + 1, end - at_ - 1);
    const bool is_plain = !name.empty() && !is_digit(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
      return c == '_' || is_letter_or_digit(c);
    });
    if (!is_plain) return fail("the name of a group is none, or not of letters, digits and _");
    at_ = end + 1;
    return {};
  }

  Result<std::string> read_atom() {
    const char c = text_[at_];
    if (c == '^') return fail("^ within");
    if (c == '*' || c == '+' || c == '?' || (c == '{' && braces()))
      return fail(fmt::format("nothing to repeat before {}", c), Code::kInvalidArgument);
    if (take('[')) return read_class();
    if (is_letter_or_digit(c)) return fmt::format("[{}]", text_[at_++]);
    CharacterSet set;
    if (take('.'))
      set.others = all_but(kLineEnds);
    else
      RETURN_IF_ERROR(read_member(set, false));
    return expression_of(set);
  }

  Result<std::string> expression_of(const CharacterSet& set) const {
    std::string expression = set.expression();
    if (expression.empty()) return fail("a class without a character that the grammar has");
    return expression;
  }

  // A character, whose number it returns, or a kind: \d and the like.
  Result<std::optional<char32_t>> read_member(CharacterSet& set, bool in_class) {
    if (peek() == '\\' && at_ + 1 < text_.size() &&
        std::string_view("dDwWsS").find(peek(1)) != std::string_view::npos) {
      set.add_kind(peek(1));
      at_ += 2;
      return std::optional<char32_t>();
    }
    char32_t c = 0;
    if (!take('\\')) {
      c = next_character();
    } else {
      ASSIGN_OR_RETURN(c, read_escape(in_class));
    }
    set.add(c, c);
    return std::optional<char32_t>(c);
  }

  Result<std::string> read_class() {
    const bool negated = take('^');
    CharacterSet set;
    while (!take(']')) {
      if (at_end()) return fail("[ without ]", Code::kInvalidArgument);
      ASSIGN_OR_RETURN(const auto first, read_member(set, true));
      if (peek() != '-' || at_ + 1 >= text_.size() || peek(1) == ']') continue;
      ++at_;
      ASSIGN_OR_RETURN(const auto last, read_member(set, true));
      if (first && last && *last < *first) return fail("a range that ends before it begins", Code::kInvalidArgument);
      if (first && last)
        set.add(*first, *last);
      else
        set.add('-', '-');  // beside \d and the like it is itself
    }
    if (negated) set.negate();
    return expression_of(set);
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
  static bool is_letter_or_digit(char c) { return is_letter(c) || is_digit(c); }

  // Behind a backslash.
  Result<char32_t> read_escape(bool in_class) {
    if (at_end()) return fail("ends with \\", Code::kInvalidArgument);
    const char c = text_[at_];
    if (!is_letter_or_digit(c)) return next_character();
    ++at_;
    constexpr std::string_view kLetters = "ntrfv", kMeant = "\n\t\r\f\v";
    if (const size_t found = kLetters.find(c); found != std::string_view::npos)
      return static_cast<char32_t>(kMeant[found]);
    if (c == 'b' && in_class) return U'\b';
    if (c == '0' && !is_digit(peek())) return U'\0';
    if (c == 'c' && is_letter(peek())) return static_cast<char32_t>(text_[at_++] % 32);
    if (c == 'x') return read_hex(2);
    if (c == 'u') return read_unicode();
    if (c >= '1' && c <= '9') return fail("back references cannot be expressed");
    return fail(fmt::format("\\{} cannot be expressed", c));
  }

  // \uXXXX, \uXXXX\uXXXX, \u{X}
  Result<char32_t> read_unicode() {
    char32_t c = 0;
    if (take('{')) {
      const size_t end = std::min(text_.find('}', at_), text_.size());
      ASSIGN_OR_RETURN(c, read_hex(std::max<size_t>(end - at_, 1)));
      if (!take('}') || c > kLastCharacter) return fail("\\u{ without the number of a character");
    } else {
      ASSIGN_OR_RETURN(c, read_hex(4));
      if (c >= 0xD800 && c < 0xDC00 && peek() == '\\' && peek(1) == 'u' && peek(2) != '{') {
        at_ += 2;
        ASSIGN_OR_RETURN(const char32_t low, read_hex(4));
        if (low < 0xDC00 || low > 0xDFFF) return fail("half of a surrogate pair");
        c = 0x10000 + ((c - 0xD800) << 10u) + (low - 0xDC00);
      }
    }
    if (contains(kSurrogates, c)) return fail("half of a surrogate pair");
    return c;
  }

  // Without its digits an escape is a letter to some, and an error to others.
  Result<char32_t> read_hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      constexpr std::string_view kHex = "0123456789abcdefABCDEF";
      const size_t found = at_end() ? std::string_view::npos : kHex.find(text_[at_]);
      if (found == std::string_view::npos) return fail("an escape without its digits");
      ++at_;
      value =
          std::min(value * 16 + static_cast<uint32_t>(found < 16 ? found : found - 6), uint32_t{kLastCharacter + 1});
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

  struct Count {
    uint64_t min = 0;
    std::optional<uint64_t> max;
    size_t size = 1;  // of its text
  };

  // {m} {m,} {m,n}; nullopt: text.
  std::optional<Count> braces() const {
    size_t at = at_ + 1;
    const auto number = [&]() -> std::optional<uint64_t> {
      std::optional<uint64_t> value;
      for (; at < text_.size() && is_digit(text_[at]); ++at)
        value = std::min<uint64_t>(value.value_or(0) * 10 + static_cast<uint64_t>(text_[at] - '0'), UINT32_MAX);
      return value;
    };
    const auto is = [&](char c) { return at < text_.size() && text_[at] == c; };
    const auto min = number();
    if (!min) return std::nullopt;
    Count count{*min, min, 0};
    if (is(',')) {
      ++at;
      count.max = number();
    }
    if (!is('}')) return std::nullopt;
    count.size = at + 1 - at_;
    return count;
  }

  std::optional<Count> next_count() const {
    if (peek() == '*') return Count{0, std::nullopt};
    if (peek() == '+') return Count{1, std::nullopt};
    if (peek() == '?') return Count{0, 1};
    return peek() == '{' ? braces() : std::nullopt;
  }

  Result<Ways> read_count(Ways part) {
    const auto count = next_count();
    if (!count) return part;
    at_ += count->size;
    take('?');  // lazy: it is the same text that matches
    if (next_count()) return fail("a repetition of a repetition", Code::kInvalidArgument);
    if (count->max && *count->max < count->min) return fail("a count that is none", Code::kInvalidArgument);
    if (count->min > kGbnfRepeatMax || count->max.value_or(0) > kGbnfRepeatMax)
      return fail(fmt::format("more than {} repetitions", kGbnfRepeatMax));
    if (!part.is_free()) return fail("^ or $ within what is repeated");
    part.texts[kFree] = gbnf_repeat(*part.texts[kFree], count->min, count->max);
    return part;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Result<std::string> grammar_of_regex(std::string_view pattern) { return RegexReader(pattern).read(); }

}  // namespace spillway
