// SPDX-License-Identifier: MIT
#include "chat/gbnf.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace spillway {
namespace {

constexpr uint64_t kDigitsMax = 16;

std::string digits_exactly(size_t n) { return n == 0 ? "" : n == 1 ? "[0-9]" : fmt::format("[0-9]{{{}}}", n); }

std::string digit_range(char low, char high) {
  return low == high ? gbnf_literal(std::string(1, low)) : fmt::format("[{}-{}]", low, high);
}

// Numbers of as many digits as `low` and `high` have, both included.
void same_length(const std::string& prefix, std::string_view low, std::string_view high,
                 std::vector<std::string>& out) {
  const std::string lead = prefix.empty() ? "" : gbnf_literal(prefix) + " ";
  if (low.empty()) {
    out.push_back(gbnf_literal(prefix));
    return;
  }
  const auto all = [](std::string_view digits, char digit) {
    return std::all_of(digits.begin(), digits.end(), [&](char c) { return c == digit; });
  };
  if (all(low.substr(1), '0') && all(high.substr(1), '9')) {
    const std::string rest = digits_exactly(low.size() - 1);
    out.push_back(lead + digit_range(low[0], high[0]) + (rest.empty() ? "" : " " + rest));
    return;
  }
  if (low[0] == high[0]) return same_length(prefix + low[0], low.substr(1), high.substr(1), out);
  const std::string nines(low.size() - 1, '9'), zeros(low.size() - 1, '0');
  char first = low[0], last = high[0];
  if (!all(low.substr(1), '0')) {
    same_length(prefix + first, low.substr(1), nines, out);
    ++first;
  }
  const bool whole_last = all(high.substr(1), '9');
  if (!whole_last) --last;
  if (first <= last)
    out.push_back(lead + digit_range(first, last) + (low.size() == 1 ? "" : " " + digits_exactly(low.size() - 1)));
  if (!whole_last) same_length(prefix + high[0], zeros, high.substr(1), out);
}

// min..max, both at least 0; max nullopt: up to kDigitsMax digits.
void magnitudes(uint64_t min, std::optional<uint64_t> max, std::vector<std::string>& out) {
  if (max && *max < min) return;
  const std::string low = std::to_string(min);
  const std::string high = max ? std::to_string(*max) : "";
  const size_t last = max ? high.size() : std::max<size_t>(kDigitsMax, low.size() + 1);
  for (size_t size = low.size(); size <= last; ++size) {
    const bool first = size == low.size(), final = max && size == high.size();
    const std::string from = first ? low : "1" + std::string(size - 1, '0');
    const std::string to = final ? high : std::string(size, '9');
    if (!max && !first) {
      // All the longer ones at once.
      out.push_back(fmt::format("[1-9] [0-9]{{{},{}}}", size - 1, last - 1));
      return;
    }
    same_length("", from, to, out);
  }
}

constexpr const char* kFraction = "(\".\" [0-9]{1,16})?";

// x.f with min <= x.f <= max for magnitudes; see NumberBounds.
void decimals(uint64_t min, bool exclusive_min, std::optional<uint64_t> max, bool exclusive_max,
              const std::string& sign, std::vector<std::string>& out) {
  const auto add = [&](const std::string& number) { out.push_back(sign + number); };
  if (max && (*max < min || (*max == min && (exclusive_min || exclusive_max)))) return;
  if (max && *max == min) return add(gbnf_literal(std::to_string(min)) + " (\".\" \"0\"{1,16})?");
  // 1. The lowest whole number: with it, or what is above it.
  if (exclusive_min)
    add(gbnf_literal(std::to_string(min)) + " \".\" [0-9]{0,15} [1-9]");
  else
    add(gbnf_literal(std::to_string(min)) + " " + kFraction);
  // 2. Whole numbers between, with any fraction.
  std::vector<std::string> between;
  magnitudes(min + 1, max ? std::optional(*max - 1) : std::nullopt, between);
  if (!between.empty()) add(gbnf_any_of(between) + " " + kFraction);
  // 3. The highest.
  if (max && !exclusive_max) add(gbnf_literal(std::to_string(*max)) + " (\".\" \"0\"{1,16})?");
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

std::u32string code_points(std::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t size = byte >= 0xF0u ? 4 : byte >= 0xE0u ? 3 : byte >= 0xC0u ? 2 : 1;
    char32_t c = size == 1 ? byte : byte & (0xFFu >> (size + 1));
    for (size_t k = 1; k < size && i + k < text.size(); ++k)
      c = (c << 6u) | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    out += c;
    i += size;
  }
  return out;
}

constexpr const char* kPlain = R"([^"\\\x00-\x1F\x7F])";

// Names that begin alike, and what is written for them: an alternative for each character that may follow, and those
// for leaving all of them. On a stack of its own, since names may be long.
class OtherNames {
 public:
  explicit OtherNames(std::vector<std::u32string> names) : names_(std::move(names)) {
    std::sort(names_.begin(), names_.end());
    open(0, names_.size(), 0);
    while (!open_.empty()) step();
  }

  std::string text;

 private:
  struct Group {
    size_t next, end;  // of the names, those that are still to be written
    size_t length;     // they share so many characters
    bool is_name;      // which are one of them
    bool is_alone;     // nothing follows in any of them
    std::string here;  // the characters that follow
  };

  void open(size_t begin, size_t end, size_t length) {
    Group group{begin, end, length, false, false, {}};
    for (; group.next < end && names_[group.next].size() == length; ++group.next) group.is_name = true;
    group.is_alone = group.next == end && group.is_name;
    if (!group.is_alone) text += '(';
    open_.push_back(std::move(group));
  }

  void step() {
    Group& group = open_.back();
    if (group.next < group.end) {
      const size_t begin = group.next, length = group.length;
      const char32_t c = names_[begin][length];
      while (group.next < group.end && names_[group.next][length] == c) ++group.next;
      if (!group.here.empty()) text += " | ";
      const std::string character = gbnf_class_character(c);
      group.here += character;
      text += "[" + character + "] ";
      open(begin, group.next, length + 1);
      return;
    }
    if (!group.here.empty()) text += " | ";
    text += fmt::format(R"([^"\\\x00-\x1F\x7F{}] {}*)", group.here, kPlain);
    if (!group.is_name) text += " | \"\"";
    if (!group.is_alone) text += ')';
    open_.pop_back();
  }

  std::vector<std::u32string> names_;
  std::vector<Group> open_;
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_word(char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '-'; }

// Where what begins at `at` ends: a literal, a class, a count, the name of a rule, or one character.
size_t end_of_item(std::string_view grammar, size_t at) {
  size_t end = at + 1;
  if (is_letter(grammar[at])) {
    while (end < grammar.size() && is_word(grammar[end])) ++end;
    return end;
  }
  const char first = grammar[at], last = first == '"' ? '"' : first == '[' ? ']' : first == '{' ? '}' : '\0';
  if (last == '\0') return end;
  while (end < grammar.size() && grammar[end] != last) end += grammar[end] == '\\' ? 2 : 1;
  return std::min(end + 1, grammar.size());
}

// Its rules by other names.
std::string with_prefix(std::string_view grammar, std::string_view prefix) {
  std::string out;
  for (size_t at = 0; at < grammar.size();) {
    const size_t end = end_of_item(grammar, at);
    if (is_letter(grammar[at])) out += prefix;
    out += grammar.substr(at, end - at);
    at = end;
  }
  return out;
}

}  // namespace

std::string gbnf_either(std::string_view one, std::string_view other) {
  return "root ::= one-root | other-root\n" + with_prefix(one, "one-") + with_prefix(other, "other-");
}

std::string gbnf_literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20u || c == 0x7f)
      out += fmt::format("\\x{:02X}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + "\"";
}

std::string gbnf_class_character(char32_t c) {
  const auto code = static_cast<uint32_t>(c);
  const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ' ';
  if (plain) return std::string(1, static_cast<char>(c));
  if (code < 0x100) return fmt::format("\\x{:02X}", code);
  return code < 0x10000 ? fmt::format("\\u{:04X}", code) : fmt::format("\\U{:08X}", code);
}

std::string gbnf_any_of(const std::vector<std::string>& alternatives) {
  if (alternatives.size() == 1) return alternatives.front();
  return fmt::format("({})", fmt::join(alternatives, " | "));
}

std::string gbnf_repeat(const std::string& expression, uint64_t min, std::optional<uint64_t> max) {
  std::string one = "(" + expression + ")";
  if (max && *max == 0) return "\"\"";
  if (!max && min == 0) return one + "*";
  if (!max && min == 1) return one + "+";
  if (max && min == 0 && *max == 1) return one + "?";
  if (max && min == 1 && *max == 1) return one;
  if (max && min == *max) return fmt::format("{}{{{}}}", one, min);
  return max ? fmt::format("{}{{{},{}}}", one, min, *max) : fmt::format("{}{{{},}}", one, min);
}

std::string gbnf_integers(std::optional<int64_t> min, std::optional<int64_t> max) {
  std::vector<std::string> alternatives, negative;
  // -1 and below.
  if (!min || *min < 0) {
    const uint64_t smallest = max && *max < 0 ? magnitude(*max) : 1;
    magnitudes(smallest, min ? std::optional(magnitude(*min)) : std::nullopt, negative);
    if (!negative.empty()) alternatives.push_back("\"-\" " + gbnf_any_of(negative));
  }
  if (!max || *max >= 0)
    magnitudes(min && *min > 0 ? magnitude(*min) : 0, max ? std::optional(magnitude(*max)) : std::nullopt,
               alternatives);
  return alternatives.empty() ? "" : gbnf_any_of(alternatives);
}

std::string gbnf_numbers(const NumberBounds& b) {
  std::vector<std::string> alternatives;
  // Below zero the bounds change places. -0 is written 0.
  if (!b.min || *b.min < 0) {
    const bool all = !b.max || *b.max >= 0;
    decimals(all ? 0 : magnitude(*b.max), all || b.exclusive_max,
             b.min ? std::optional(magnitude(*b.min)) : std::nullopt, b.exclusive_min, "\"-\" ", alternatives);
  }
  if (!b.max || *b.max >= 0) {
    const bool all = !b.min || *b.min < 0;
    decimals(all ? 0 : magnitude(*b.min), !all && b.exclusive_min,
             b.max ? std::optional(magnitude(*b.max)) : std::nullopt, b.exclusive_max, "", alternatives);
  }
  return alternatives.empty() ? "" : gbnf_any_of(alternatives);
}

std::string gbnf_other_names(const std::vector<std::string>& names) {
  std::vector<std::u32string> characters;
  characters.reserve(names.size());
  for (const std::string& name : names) characters.push_back(code_points(name));
  return OtherNames(std::move(characters)).text;
}

// A rule for each beginning of a mark that the text may end with so far. Marks come from templates and names of
// arguments, as long as somebody likes: beginnings and letters are a square of what counts of one.
std::string gbnf_text_without(const std::vector<std::string>& marks, const std::string& name) {
  constexpr size_t kMarkCharactersMax = 200;
  std::set<std::u32string> beginnings = {U""};
  std::set<std::u32string> whole;
  std::set<char32_t> letters;
  for (const std::string& mark : marks) {
    const std::u32string text = code_points(mark).substr(0, kMarkCharactersMax);
    whole.insert(text);
    letters.insert(text.begin(), text.end());
    for (size_t size = 1; size < text.size(); ++size) beginnings.insert(text.substr(0, size));
  }
  // 1. Where each letter leads: to the longest end of what is there then that begins a mark. What a shorter beginning
  // does is known when a longer one asks.
  const std::vector<std::u32string> known(beginnings.begin(), beginnings.end());
  const auto number_of = [&](const std::u32string& text) -> std::optional<size_t> {
    const auto found = std::lower_bound(known.begin(), known.end(), text);
    if (found == known.end() || *found != text) return std::nullopt;
    return static_cast<size_t>(found - known.begin());
  };
  std::vector<size_t> by_length(known.size());
  std::iota(by_length.begin(), by_length.end(), size_t{0});
  std::stable_sort(by_length.begin(), by_length.end(),
                   [&](size_t a, size_t b) { return known[a].size() < known[b].size(); });
  constexpr size_t kWhole = SIZE_MAX;  // a mark is there: that may not be
  std::vector<std::map<char32_t, size_t>> leads(known.size());
  std::vector<size_t> shorter(known.size(), 0);  // the longest end of each that is another one of them
  for (const size_t here : by_length)
    for (const char32_t letter : letters) {
      const std::u32string next = known[here] + letter;
      const auto ends_whole = [&](const std::u32string& mark) { return next.ends_with(mark); };
      size_t& to = leads[here][letter];
      const size_t of_end = here == 0 ? 0 : leads[shorter[here]][letter];
      const auto longer = number_of(next);
      to = std::any_of(whole.begin(), whole.end(), ends_whole) ? kWhole : longer.value_or(of_end);
      if (longer) shorter[*longer] = of_end == kWhole ? 0 : of_end;
    }
  // 2. The rules.
  const auto rule_of = [&](size_t at) { return at == 0 ? name : fmt::format("{}-{}", name, at); };
  std::string others;
  for (const char32_t letter : letters) others += gbnf_class_character(letter);
  std::string rules;
  for (size_t here = 0; here < known.size(); ++here) {
    rules += fmt::format("{} ::= | [^{}] {}", rule_of(here), others, name);
    for (const auto& [letter, to] : leads[here])
      if (to != kWhole) rules += fmt::format(" | [{}] {}", gbnf_class_character(letter), rule_of(to));
    rules += '\n';
  }
  return rules;
}

}  // namespace spillway
