// SPDX-License-Identifier: MIT
#include "grammar/grammar_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/saturating_sub.h"
#include "base/utf8_decoder.h"
#include "grammar/grammar_checks.h"

namespace spillway {
namespace {

constexpr uint32_t kNotYet = std::numeric_limits<uint32_t>::max();
constexpr char32_t kLastCharacter = 0x10FFFF;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || is_digit(c); }

// Sorted, joined where they touch, without surrogates, which no text has.
CharacterRanges normalized(CharacterRanges ranges) {
  std::sort(ranges.begin(), ranges.end());
  CharacterRanges out;
  const auto add = [&](char32_t first, char32_t last) {
    if (first > last) return;
    if (!out.empty() && first <= out.back().second + 1)
      out.back().second = std::max(out.back().second, last);
    else
      out.emplace_back(first, last);
  };
  for (const auto& [first, last] : ranges) {
    add(first, std::min<char32_t>(last, 0xD7FF));
    add(std::max<char32_t>(first, 0xE000), last);
  }
  return out;
}

CharacterRanges all_but(const CharacterRanges& ranges) {
  CharacterRanges out;
  char32_t next = 0;
  for (const auto& [first, last] : ranges) {
    if (first > next) out.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLastCharacter) out.emplace_back(next, kLastCharacter);
  return normalized(std::move(out));
}

}  // namespace

Result<std::shared_ptr<const Grammar>> Grammar::parse(std::string_view text, const TokenNumber& token_number) {
  return GrammarReader(text, token_number).read();
}

GrammarReader::GrammarReader(std::string_view text, const Grammar::TokenNumber& token_number)
    : text_(text), token_number_(token_number) {}

Result<std::shared_ptr<const Grammar>> GrammarReader::read() {
  if (text_.size() > Grammar::kTextBytesMax)
    return error(Code::kInvalidArgument,
                 fmt::format("the grammar is larger than {} MiB", Grammar::kTextBytesMax >> 20));
  skip_space(true);
  while (!at_end()) RETURN_IF_ERROR(read_rule());
  for (const auto& [name, number] : rule_numbers_)
    if (rule_starts_[number] == kNotYet)
      return error(Code::kInvalidArgument, fmt::format("the grammar has no rule {}", name.substr(0, 100)));
  const auto root = rule_numbers_.find("root");
  if (root == rule_numbers_.end()) return error(Code::kInvalidArgument, "the grammar has no rule root");
  mark_last_calls(program_);
  if (const auto bad = left_recursive_rule(program_, rule_starts_))
    for (const auto& [name, number] : rule_numbers_)
      if (number == *bad)
        return error(Code::kInvalidArgument,
                     fmt::format("the grammar's rule {} begins with itself (left recursion)", name.substr(0, 100)));
  std::shared_ptr<Grammar> grammar(new Grammar());
  grammar->text_ = text_;
  grammar->program_ = std::move(program_);
  grammar->rule_starts_ = std::move(rule_starts_);
  grammar->root_ = root->second;
  grammar->sets_ = std::move(sets_);
  grammar->number_classes();
  return grammar;
}

Failure GrammarReader::fail(const std::string& what) const {
  const auto before = text_.substr(0, std::min(at_, text_.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t line_start = before.rfind('\n');
  const size_t column = line_start == std::string_view::npos ? before.size() + 1 : before.size() - line_start;
  return error(Code::kInvalidArgument, fmt::format("the grammar, line {}, column {}: {}", line, column, what));
}

bool GrammarReader::take(char c) {
  if (at_end() || text_[at_] != c) return false;
  ++at_;
  return true;
}

void GrammarReader::skip_space(bool newlines) {
  while (!at_end()) {
    const char c = text_[at_];
    if (c == '#') {
      while (!at_end() && text_[at_] != '\r' && text_[at_] != '\n') ++at_;
    } else if (c == ' ' || c == '\t' || (newlines && (c == '\r' || c == '\n'))) {
      ++at_;
    } else {
      return;
    }
  }
}

std::string_view GrammarReader::take_name() {
  const size_t begin = at_;
  while (is_word(peek())) ++at_;
  return text_.substr(begin, at_ - begin);
}

size_t GrammarReader::rule_number(std::string_view name) {
  const auto [found, added] = rule_numbers_.try_emplace(std::string(name), rule_starts_.size());
  if (added) rule_starts_.push_back(kNotYet);
  return found->second;
}

Result<void> GrammarReader::read_rule() {
  const std::string_view name = take_name();
  if (name.empty()) return fail("a rule's name is expected");
  const size_t number = rule_number(name);
  skip_space(false);
  if (!(take(':') && take(':') && take('='))) return fail("::= is expected");
  skip_space(true);
  // Of two definitions the last one counts, as in llama.cpp.
  rule_starts_[number] = static_cast<uint32_t>(program_.size());
  RETURN_IF_ERROR(read_body());
  emit(Op::kReturn, 0);
  if (take('\r'))
    take('\n');
  else if (!at_end() && !take('\n'))
    return fail("the end of the line is expected");
  skip_space(true);
  return {};
}

Result<void> GrammarReader::read_body() {
  open_bracket();
  for (;;) {
    RETURN_IF_ERROR(check_size());
    const bool nested = brackets_.size() > 1;
    switch (peek()) {
      case '|':
        ++at_;
        next_alternative();
        skip_space(true);
        break;
      case '(':
        ++at_;
        open_bracket();
        skip_space(true);
        break;
      case ')':
        if (!nested) return fail("a ) without its (");
        ++at_;
        close_bracket();
        skip_space(brackets_.size() > 1);
        break;
      case '*':
        ++at_;
        RETURN_IF_ERROR(count(0, std::nullopt));
        skip_space(nested);
        break;
      case '+':
        ++at_;
        RETURN_IF_ERROR(count(1, std::nullopt));
        skip_space(nested);
        break;
      case '?':
        ++at_;
        RETURN_IF_ERROR(count(0, 1));
        skip_space(nested);
        break;
      case '{':
        ++at_;
        RETURN_IF_ERROR(read_braces());
        skip_space(nested);
        break;
      case '"':
      case '[':
      case '<':
      case '!':
      case '.':
        RETURN_IF_ERROR(read_item());
        skip_space(nested);
        break;
      default:
        if (is_word(peek())) {
          RETURN_IF_ERROR(read_item());
          skip_space(nested);
          break;
        }
        if (nested) return fail(at_end() ? "a ( without its )" : "something unexpected within ( )");
        close_bracket();
        return {};
    }
  }
}

Result<void> GrammarReader::read_item() {
  const char c = peek();
  if (c == '"') return read_literal();
  if (c == '[') return read_set();
  if (c == '<' || c == '!') return read_token();
  begin_item();
  if (take('.'))
    emit(Op::kSet, set_number(all_but({})));
  else
    emit(Op::kCall, static_cast<int64_t>(rule_number(take_name())));
  end_item();
  return {};
}

Result<void> GrammarReader::read_literal() {
  ++at_;
  begin_item();
  while (!take('"')) {
    if (at_end()) return fail("a text without its closing \"");
    ASSIGN_OR_RETURN(const char32_t c, read_character());
    emit(Op::kCharacter, static_cast<int64_t>(c));
  }
  end_item();
  return {};
}

Result<void> GrammarReader::read_set() {
  ++at_;
  const bool negated = take('^');
  CharacterRanges ranges;
  while (!take(']')) {
    if (at_end()) return fail("a [ without its ]");
    ASSIGN_OR_RETURN(const char32_t first, read_character());
    char32_t last = first;
    if (peek() == '-' && peek(1) != ']') {
      ++at_;
      ASSIGN_OR_RETURN(last, read_character());
      if (last < first) return fail("a range that ends before it begins");
    }
    ranges.emplace_back(first, last);
  }
  if (ranges.empty()) return fail("[] holds no character");
  ranges = normalized(std::move(ranges));
  if (negated) ranges = all_but(ranges);
  begin_item();
  emit(Op::kSet, set_number(std::move(ranges)));
  end_item();
  return {};
}

// <text> or <[number]>; with ! in front: any other token.
Result<void> GrammarReader::read_token() {
  const Op op = take('!') ? Op::kNotToken : Op::kToken;
  const size_t begin = at_;
  if (!take('<')) return fail("< is expected behind !");
  std::optional<int32_t> number;
  if (take('[')) {
    ASSIGN_OR_RETURN(const uint64_t value, read_number());
    if (!take(']') || !take('>')) return fail("]> is expected");
    if (value > INT32_MAX) return fail("no token has such a number");
    number = static_cast<int32_t>(value);
  } else {
    const size_t end = text_.find('>', at_);
    if (end == std::string_view::npos) return fail("a < without its >");
    at_ = end + 1;
    const std::string_view token = text_.substr(begin, at_ - begin);
    if (token_number_ && token.size() <= 1000) number = token_number_(token);
    if (!number) return fail(fmt::format("{} is no token of this model", token.substr(0, 100)));
  }
  begin_item();
  emit(op, *number);
  end_item();
  return {};
}

Result<char32_t> GrammarReader::read_character() {
  if (!take('\\')) return read_utf8();
  const char c = peek();
  ++at_;
  switch (c) {
    case 'x':
      return read_hex(2);
    case 'u':
      return read_hex(4);
    case 'U':
      return read_hex(8);
    case 't':
      return U'\t';
    case 'r':
      return U'\r';
    case 'n':
      return U'\n';
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
      return static_cast<char32_t>(c);
    default:
      --at_;
      return fail("an escape that is none");
  }
}

Result<char32_t> GrammarReader::read_hex(size_t digits) {
  uint64_t value = 0;
  for (size_t i = 0; i < digits; ++i, ++at_) {
    const std::string_view kDigits = "0123456789abcdefABCDEF";
    const size_t found = at_end() ? std::string_view::npos : kDigits.find(text_[at_]);
    if (found == std::string_view::npos) return fail(fmt::format("{} hex digits are expected", digits));
    value = value * 16 + (found < 16 ? found : found - 6);
  }
  if (value > kLastCharacter) return fail("beyond the last character, U+10FFFF");
  return static_cast<char32_t>(value);
}

Result<char32_t> GrammarReader::read_utf8() {
  Utf8Decoder decoder;
  for (;;) {
    if (at_end()) return fail("ends within a character");
    const auto took = decoder.take(static_cast<unsigned char>(text_[at_]));
    if (took == Utf8Decoder::Took::kInvalid) return fail("not UTF-8");
    ++at_;
    if (took == Utf8Decoder::Took::kCharacter) return decoder.value();
  }
}

Result<uint64_t> GrammarReader::read_number() {
  if (!is_digit(peek())) return fail("a number is expected");
  uint64_t value = 0;
  while (is_digit(peek())) {
    value = std::min<uint64_t>(value * 10 + static_cast<uint64_t>(peek() - '0'), UINT32_MAX);
    ++at_;
  }
  return value;
}

// ---- Writing the program

void GrammarReader::begin_item() {
  item_.begin = program_.size();
  emit(Op::kJump, 1);
}

void GrammarReader::open_bracket() {
  begin_item();
  brackets_.push_back({item_.begin, program_.size(), {}});
  emit(Op::kJump, 1);
  item_.is_there = false;
}

void GrammarReader::next_alternative() {
  Bracket& bracket = brackets_.back();
  bracket.ends.push_back(program_.size());
  emit(Op::kJump, 1);
  point(bracket.alternative, Op::kSplit, program_.size());
  bracket.alternative = program_.size();
  emit(Op::kJump, 1);
  item_.is_there = false;
}

void GrammarReader::close_bracket() {
  const Bracket& bracket = brackets_.back();
  for (const size_t from : bracket.ends) point(from, Op::kJump, program_.size());
  item_ = {bracket.item, program_.size(), Count::kOnce, true};
  brackets_.pop_back();
}

void GrammarReader::point(size_t from, Op op, size_t to) {
  program_[from] = {op, false, static_cast<int32_t>(static_cast<int64_t>(to) - static_cast<int64_t>(from))};
}

Result<void> GrammarReader::check_size() const {
  if (program_.size() <= Grammar::kInstructionsMax) return {};
  return error(Code::kInvalidArgument,
               fmt::format("the grammar is too large: with its repetitions written out, it has more than {} parts",
                           Grammar::kInstructionsMax));
}

// ? * +, and these of each other, without growing.
void GrammarReader::count_simply(Count count) {
  program_.resize(item_.end);
  item_.count = item_.count == Count::kOnce || item_.count == count ? count : Count::kAny;
  program_[item_.begin] = {Op::kJump, false, 1};
  if (item_.count == Count::kSome) {
    emit(Op::kJump, 1);
    point(item_.end, Op::kSplit, item_.begin + 1);
    return;
  }
  if (item_.count == Count::kAny) {
    emit(Op::kJump, 1);
    point(item_.end, Op::kJump, item_.begin);
  }
  point(item_.begin, Op::kSplit, program_.size());
}

Result<void> GrammarReader::count(uint64_t min, std::optional<uint64_t> max) {
  if (!item_.is_there) return fail("there is nothing to repeat");
  if (max && *max < min) return fail("a count that ends before it begins");
  if (min == 1 && max == 1) return {};
  if (item_.count == Count::kCounted || min > 1 || (max && *max > 1)) {
    // The item as it is becomes the inside of a new one.
    const size_t begin = item_.begin;
    program_.insert(program_.begin() + static_cast<std::ptrdiff_t>(begin), Instruction{});
    item_ = {begin, program_.size(), Count::kOnce, true};
  }
  if (min == 0 && max == 0) {
    program_.resize(item_.begin + 1);
    program_[item_.begin] = {Op::kJump, false, 1};
    item_ = {item_.begin, program_.size(), Count::kCounted, true};
    return {};
  }
  if (min <= 1 && !max) {
    count_simply(min == 0 ? Count::kAny : Count::kSome);
    return {};
  }
  if (min == 0 && max == 1) {
    count_simply(Count::kOptional);
    return {};
  }
  // Written out: copies that must be, and copies that may be, each of which may be the last.
  const size_t begin = item_.begin, size = program_.size() - begin;
  const uint64_t copies = max ? *max : min;
  if (copies > Grammar::kInstructionsMax || copies * size > saturating_sub(Grammar::kInstructionsMax, begin))
    return fail(fmt::format("too large a repetition: written out, it would have more than {} parts",
                            Grammar::kInstructionsMax));
  program_.reserve(begin + copies * size + 1);
  for (uint64_t i = 1; i < copies; ++i)
    for (size_t k = 0; k < size; ++k) program_.push_back(program_[begin + k]);
  for (uint64_t i = min; i < copies; ++i) point(begin + i * size, Op::kSplit, program_.size());
  if (!max) {
    const size_t last = begin + (copies - 1) * size;
    emit(Op::kJump, 1);
    point(program_.size() - 1, Op::kSplit, last + 1);
  }
  item_ = {begin, program_.size(), Count::kCounted, true};
  return {};
}

Result<void> GrammarReader::read_braces() {
  skip_space(brackets_.size() > 1);
  ASSIGN_OR_RETURN(const uint64_t min, read_number());
  skip_space(brackets_.size() > 1);
  std::optional<uint64_t> max = min;
  if (take(',')) {
    skip_space(brackets_.size() > 1);
    max.reset();
    if (is_digit(peek())) {
      ASSIGN_OR_RETURN(max, read_number());
    }
    skip_space(brackets_.size() > 1);
  }
  if (!take('}')) return fail("} is expected");
  return count(min, max);
}

int32_t GrammarReader::set_number(CharacterRanges ranges) {
  std::string key(reinterpret_cast<const char*>(ranges.data()), ranges.size() * sizeof ranges[0]);
  const auto [found, added] = set_numbers_.try_emplace(std::move(key), static_cast<int32_t>(sets_.size()));
  if (added) sets_.push_back(std::move(ranges));
  return found->second;
}

}  // namespace spillway
