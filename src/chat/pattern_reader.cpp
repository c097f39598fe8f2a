// SPDX-License-Identifier: MIT
#include "chat/pattern_reader.h"

#include <algorithm>
#include <utility>

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "chat/argument_schema.h"
#include "chat/json_text.h"
#include "chat/mark_text.h"
#include "chat/text_tail.h"
#include "chat/value_text.h"

namespace spillway {
namespace {

constexpr size_t kKeyBytesMax = 256;

constexpr bool is_placeholder(char c) { return c >= placeholder::kName && c <= placeholder::kKey; }

constexpr bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

// Blanks may stand in front of `literal[at]` where the literal has none: between marks and brackets.
bool blanks_may_come(std::string_view literal, size_t at) {
  constexpr std::string_view kCloses = ">]})", kOpens = "<[{(";
  return at == 0 || kCloses.find(literal[at - 1]) != std::string_view::npos ||
         kOpens.find(literal[at]) != std::string_view::npos;
}

// What ends something in front of `literal`: its first mark, or its first character.
std::string head_of(std::string_view literal) {
  literal = without_blanks(literal);
  if (literal.empty()) return "";
  if (!begins_with_mark(literal)) return std::string(literal.substr(0, 1));
  return tokens_of(literal).front();
}

// What XML escapes.
std::string without_entities(std::string_view text) {
  static constexpr std::pair<std::string_view, char> kEntities[] = {{"&lt;", '<'},    {"&gt;", '>'},   {"&quot;", '"'},
                                                                    {"&#34;", '"'},   {"&#39;", '\''}, {"&apos;", '\''},
                                                                    {"&#x27;", '\''}, {"&amp;", '&'}};
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto found = std::find_if(std::begin(kEntities), std::end(kEntities),
                                    [&](const auto& entity) { return text.substr(i).starts_with(entity.first); });
    const bool is_entity = found != std::end(kEntities);
    out += is_entity ? found->second : text[i];
    i += is_entity ? found->first.size() : 1;
  }
  return out;
}

std::string_view up_to_placeholder(std::string_view pattern) {
  return pattern.substr(
      0, static_cast<size_t>(std::find_if(pattern.begin(), pattern.end(), is_placeholder) - pattern.begin()));
}

}  // namespace

Match match_literal(std::string_view text, std::string_view literal, size_t& size) {
  size_t at = 0, i = 0;
  const size_t body = end_without_blanks(literal, literal.size());
  while (i < body) {
    const bool blank = is_blank(literal[i]);
    if (blank) {
      i += blanks_before(literal.substr(i));
      at += blanks_before(text.substr(at));
      continue;
    }
    if (at < text.size() && text[at] != literal[i] && is_blank(text[at]) && blanks_may_come(literal, i)) {
      at += blanks_before(text.substr(at));
    }
    if (at == text.size()) return Match::kMore;
    if (literal[i] == placeholder::kIndex) {
      while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
      ++i;
      continue;
    }
    if (text[at] != literal[i]) return Match::kNo;
    ++at;
    ++i;
  }
  for (; i < literal.size() && at < text.size() && text[at] == literal[i]; ++i) ++at;
  size = at;
  return Match::kYes;
}

std::string with_placeholder(const Pattern& pattern, char placeholder, std::string_view value) {
  std::string text;
  for (const char c : pattern)
    if (c == placeholder)
      text += value;
    else
      text += c;
  return text;
}

// Between marks a key may be anything; where a sign alone is behind it, a name.
bool PatternReader::may_be_key(std::string_view key) const {
  const Pattern& pattern = arguments_.items.key;
  key = without_blanks(key);
  if (key.empty() || key.size() > kKeyBytesMax) return false;
  if (pattern.find_first_of("<[\"'") != std::string::npos) return key.find_first_of("\n<>\"") == std::string_view::npos;
  if (key.size() > 1 && (key[0] == '"' || key[0] == '\'') && key.back() == key[0]) key = key.substr(1, key.size() - 2);
  return std::all_of(key.begin(), key.end(), [](char c) {
    return is_name_character(c) || c == '.' || c == '$' || (static_cast<unsigned char>(c) & 0x80u) != 0;
  });
}

void PatternReader::skip_blanks() { at_ += blanks_before(rest()); }

Match PatternReader::read(const Pattern& pattern) {
  for (size_t i = 0; i < pattern.size();) {
    const std::string_view left = std::string_view(pattern).substr(i);
    if (is_placeholder(left[0])) {
      const std::string_view next = left.size() > 1 ? left.substr(1) : behind_;
      if (const Match match = read_placeholder(left[0], next); match != Match::kYes) return match;
      ++i;
      continue;
    }
    const std::string_view literal = up_to_placeholder(left);
    size_t size = 0;
    if (const Match match = match_literal(rest(), literal, size); match != Match::kYes) return match;
    at_ += size;
    i += literal.size();
  }
  return Match::kYes;
}

Match PatternReader::read_placeholder(char placeholder, std::string_view next) {
  switch (placeholder) {
    case placeholder::kName:
      return read_name(next);
    case placeholder::kArguments:
      return arguments_.is_json ? read_json_arguments() : read_items(next);
    case placeholder::kIndex:
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
      return at_ == text_.size() ? Match::kMore : Match::kYes;
    default:
      return read_until(next);
  }
}

// The longest name that fits, or the one that was read before: some marks name the function again.
Match PatternReader::read_name(std::string_view next) {
  skip_blanks();
  const Tool* found = nullptr;
  bool more = false;
  const char behind = next.empty() ? '\0' : next[0];
  for (const Tool& tool : tools_) {
    if (tool_ != nullptr && &tool != tool_) continue;
    const std::string& name = tool.name;
    if (!rest().starts_with(name)) {
      more = more || (rest().size() < name.size() && name.starts_with(rest()));
      continue;
    }
    const bool ends = rest().size() == name.size();
    more = more || ends;
    if (ends || (is_name_character(rest()[name.size()]) && rest()[name.size()] != behind)) continue;
    if (found == nullptr || name.size() > found->name.size()) found = &tool;
  }
  if (more) return Match::kMore;
  if (found == nullptr) return Match::kNo;
  tool_ = found;
  at_ += found->name.size();
  return Match::kYes;
}

// An id, or whatever else may stand in front of `next`.
Match PatternReader::read_until(std::string_view next) {
  const std::string head = head_of(up_to_placeholder(next));
  const size_t limit = std::min(rest().size(), kKeyBytesMax);
  const size_t end = head.empty() ? std::string_view::npos : rest().substr(0, limit).find(head);
  if (end != std::string_view::npos) {
    at_ += end;
    return Match::kYes;
  }
  if (!head.empty()) return rest().size() < kKeyBytesMax ? Match::kMore : Match::kNo;
  while (at_ < text_.size() && (is_name_character(text_[at_]) || text_[at_] == '.' || text_[at_] == ':')) ++at_;
  return at_ == text_.size() ? Match::kMore : Match::kYes;
}

Match PatternReader::read_json_arguments() {
  skip_blanks();
  if (rest().empty()) return Match::kMore;
  if (rest()[0] != '{') return Match::kNo;
  const auto size = bracketed_size(rest());
  if (!size) return Match::kMore;
  json_ = rest().substr(0, *size);
  at_ += *size;
  if (!is_json_object(json_)) json_ = whole_literal(json_);  // written as python would
  return is_json_object(json_) ? Match::kYes : Match::kNo;
}

// `next`: what follows the arguments.
Match PatternReader::read_items(std::string_view next) {
  const MarkedItems& items = arguments_.items;
  std::string behind = with_placeholder(Pattern(next), placeholder::kName, tool_ != nullptr ? tool_->name : "");
  behind = up_to_placeholder(behind);
  const std::string head = head_of(behind.empty() ? behind_ : std::string_view(behind));
  json_ = "{";
  // 1. None at all.
  size_t size = 0;
  if (!items.empty.empty()) {
    const Match none = match_literal(rest(), items.empty, size);
    if (none == Match::kMore) return none;
    if (none == Match::kYes) {
      at_ += size;
      json_ += "}";
      return Match::kYes;
    }
  }
  const size_t begin = at_;
  const Match at_once = match_literal(rest(), head, size);
  if (at_once == Match::kMore && !head.empty()) return Match::kMore;
  if (at_once == Match::kYes && !head.empty()) {
    json_ += "}";
    return Match::kYes;
  }
  // 2. One after the other.
  if (const Match match = match_literal(rest(), items.begin, size); match == Match::kYes && !items.begin.empty())
    at_ += size;
  else if (match == Match::kMore)
    return match;
  const std::string closing = items.end + head;
  while (true) {
    const bool first = json_.size() == 1;
    const Match closed = closing.empty() ? Match::kNo : match_literal(rest(), closing, size);
    if (closed == Match::kMore) return closed;
    if (closed == Match::kYes) break;
    if (!first) {
      const Match more = match_literal(rest(), items.between, size);
      if (more == Match::kMore) return more;
      if (more == Match::kNo) {
        if (closing.empty()) break;  // nothing says where they end, but that there are no more
        return Match::kNo;
      }
      at_ += size;
    }
    if (const Match one = read_item(closing); one != Match::kYes) {
      if (!first || begin != at_ || one == Match::kMore) return one;
      return one;
    }
  }
  if (!items.end.empty() && match_literal(rest(), items.end, size) == Match::kYes) at_ += size;
  json_ += "}";
  return Match::kYes;
}

Match PatternReader::read_item(std::string_view closing) {
  const Pattern& pattern = arguments_.items.key;
  const size_t split = pattern.find(placeholder::kKey);
  size_t size = 0;
  // 1. What stands in front of the key.
  if (const Match match = match_literal(rest(), std::string_view(pattern).substr(0, split), size); match != Match::kYes)
    return match;
  at_ += size;
  // 2. The key, up to where the rest of the pattern follows.
  const std::string_view behind_key = std::string_view(pattern).substr(split + 1);
  const std::string head = head_of(behind_key);
  const size_t found = head.empty() ? 0 : rest().substr(0, kKeyBytesMax + head.size()).find(head);
  if (found == std::string_view::npos) return rest().size() < kKeyBytesMax + head.size() ? Match::kMore : Match::kNo;
  std::string_view key = without_blanks(rest().substr(0, found));
  if (key.size() > 1 && (key[0] == '"' || key[0] == '\'') && key.back() == key[0]) key = key.substr(1, key.size() - 2);
  if (!may_be_key(key)) return Match::kNo;
  at_ += found;
  if (const Match match = match_literal(rest(), behind_key, size); match != Match::kYes) return match;
  at_ += size;
  // 3. The value.
  if (json_.size() > 1) json_ += ", ";
  json_ += json_string(key) + ": ";
  return read_value(std::string(key), closing);
}

// Whether the arguments go on, or end, behind a value and its mark.
Match PatternReader::goes_on(std::string_view text, std::string_view closing) const {
  const MarkedItems& items = arguments_.items;
  size_t size = 0;
  const Match ends = closing.empty() ? Match::kYes : match_literal(text, closing, size);
  if (ends == Match::kYes) return ends;
  const size_t split = items.key.find(placeholder::kKey);
  const std::string more = items.between + items.key.substr(0, split);
  Match another = match_literal(text, more, size);
  if (another == Match::kYes) {
    // A key follows, and what stands behind it.
    text.remove_prefix(size);
    const std::string head = head_of(std::string_view(items.key).substr(split + 1));
    const size_t found = head.empty() ? 0 : text.substr(0, kKeyBytesMax + head.size()).find(head);
    const bool may_come = text.size() < kKeyBytesMax + head.size() && without_blanks(text).find('\n') == text.npos;
    if (found == std::string_view::npos)
      another = may_come ? Match::kMore : Match::kNo;
    else if (!may_be_key(text.substr(0, found)))
      another = Match::kNo;
  }
  return another == Match::kNo ? ends : another;
}

Match PatternReader::read_value(const std::string& key, std::string_view closing) {
  const ValueSyntax& values = arguments_.values;
  const std::string value_end = with_placeholder(arguments_.items.value_end, placeholder::kKey, key);
  bool is_text = false, is_other = false;
  size_t size = 0;
  // 1. What tells text from other values.
  if (values.quotes_text() && escapes_text()) {
    skip_blanks();
    if (rest().empty()) return Match::kMore;
    if (rest()[0] == '"' || rest()[0] == '\'') return read_quoted_text(key, value_end, closing);
    is_other = true;
  } else if (!values.text_open.empty() || !values.other_open.empty()) {
    const Match text = values.text_open.empty() ? Match::kNo : match_literal(rest(), values.text_open, size);
    if (text == Match::kMore) return text;
    is_text = text == Match::kYes;
    is_other = !is_text;
    if (is_other)
      if (const Match other = match_literal(rest(), values.other_open, size); other != Match::kYes) return other;
    at_ += size;
  }
  // 2. Values that show themselves where they end.
  if (is_other && values.quotes_text()) {
    ValueAttempt attempt = read_marked(rest(), values);
    if (attempt.outcome == ValueAttempt::kMore) return Match::kMore;
    if (attempt.outcome == ValueAttempt::kNone && escapes_text()) return read_unquoted_text(closing);
    if (attempt.outcome == ValueAttempt::kNone) return Match::kNo;
    at_ += attempt.size;
    json_ += attempt.json;
    if (match_literal(rest(), values.other_close + value_end, size) == Match::kYes) at_ += size;
    return Match::kYes;
  }
  // 3. All others end where their mark does.
  std::string_view text;
  const std::string& close = is_text ? values.text_close : values.other_close;
  if (const Match match = read_raw(close + value_end, closing, text); match != Match::kYes) return match;
  json_ += value_json(key, text, is_text, is_other);
  return Match::kYes;
}

bool PatternReader::escapes_text() const {
  return arguments_.values.text == ValueSyntax::Text::kJson || arguments_.values.text == ValueSyntax::Text::kPython;
}

// Up to a quote behind which the arguments go on or end: not all quotes within are escaped.
Match PatternReader::read_quoted_text(const std::string& key, const std::string& value_end, std::string_view closing) {
  const std::string_view text = rest();
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
      continue;
    }
    if (text[i] != text[0]) continue;
    std::string_view behind = text.substr(i + 1);
    size_t size = 0;
    if (!value_end.empty()) {
      const Match ends = match_literal(behind, value_end, size);
      if (ends == Match::kMore) return ends;
      if (ends == Match::kNo) continue;
      behind.remove_prefix(size);
    }
    const Match more = goes_on(behind, closing);
    if (more == Match::kMore) return more;
    if (more == Match::kNo) continue;
    const std::string content = unescaped(text.substr(1, i - 1));
    const std::string other = other_than_text(key, content);
    json_ += other.empty() ? json_string(content) : other;
    at_ += i + 1 + size;
    return Match::kYes;
  }
  return Match::kMore;
}

// Quotes stand around a value where the schema wants anything but text: that value; else "".
std::string PatternReader::other_than_text(const std::string& key, std::string_view content) const {
  const ArgumentProperty* property = property_of(key);
  if (property == nullptr || property->is_text || !property->schema->is_object()) return "";
  const auto type = property->schema->find("type");
  if (type == property->schema->end() || !type->is_string()) return "";
  std::string value = whole_literal(content);
  return value.starts_with('"') ? "" : value;
}

// Text whose quotes were forgotten: as far as nothing else can be meant.
Match PatternReader::read_unquoted_text(std::string_view closing) {
  const std::string_view text = rest();
  const char first = arguments_.items.between.empty() ? ',' : arguments_.items.between[0];
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') return Match::kNo;
    if (text[i] != first && (closing.empty() || text[i] != closing[0])) continue;
    const Match more = goes_on(text.substr(i), closing);
    if (more == Match::kMore) return more;
    if (more == Match::kNo) continue;
    json_ += json_string(without_blanks(text.substr(0, i)));
    at_ += i;
    return Match::kYes;
  }
  return Match::kMore;
}

// Up to `mark`, behind which another argument or the end of them follows: within the value it may stand as text.
Match PatternReader::read_raw(std::string_view mark, std::string_view closing, std::string_view& value) {
  const MarkedItems& items = arguments_.items;
  const std::string_view core = without_blanks(mark);
  if (core.empty()) {
    // A line, or what else is between values, ends it.
    size_t end = std::string_view::npos;
    for (const std::string& text : {std::string(mark) + items.between, std::string(mark) + std::string(closing)})
      if (!text.empty()) end = std::min(end, rest().find(text));
    if (end == std::string_view::npos) return Match::kMore;
    value = rest().substr(0, end);
    at_ += end + mark.size();
    return Match::kYes;
  }
  for (size_t found = rest().find(core); found != std::string_view::npos; found = rest().find(core, found + 1)) {
    const Match more = goes_on(rest().substr(found + core.size()), closing);
    if (more == Match::kMore) return more;
    if (more == Match::kNo) continue;
    // The blanks of the mark are not part of the value.
    value = rest().substr(0, found);
    const std::string_view before = mark.substr(0, blanks_before(mark));
    const std::string_view after = mark.substr(end_without_blanks(mark, mark.size()));
    if (value.ends_with(before)) value.remove_suffix(before.size());
    at_ += found + core.size();
    if (rest().starts_with(after)) at_ += after.size();
    return Match::kYes;
  }
  return Match::kMore;
}

// null: nothing is known of it; so it is where arguments stand in front of the name.
const ArgumentProperty* PatternReader::property_of(const std::string& key) const {
  return tool_ != nullptr ? schemas_.of(*tool_).find(key) : nullptr;
}

std::string PatternReader::fitted_to(const std::string& key, const std::string& json) const {
  using Json = nlohmann::ordered_json;
  if (nests_deeper(json)) return json;
  static const Json kUnknown;
  const ArgumentProperty* property = property_of(key);
  const Json& schema = property != nullptr ? *property->schema : kUnknown;
  const Json& root = property != nullptr ? *property->root : kUnknown;
  const auto meant = [&](const std::string& text) {
    const std::string word = word_json(without_blanks(text), arguments_.values);
    return word.empty() || word[0] == '"' ? Json(text) : json_or_null(word);
  };
  return write_json(fitted(json_or_null(json), schema, root, meant));
}

// As JSON: text where the tool's schema, or the marks, say so, else what it looks like.
std::string PatternReader::value_json(const std::string& key, std::string_view text, bool is_text,
                                      bool is_other) const {
  constexpr std::string_view kCdata = "<![CDATA[", kCdataEnd = "]]>";
  if (const auto bare = without_blanks(text); bare.starts_with(kCdata) && bare.ends_with(kCdataEnd))
    return json_string(bare.substr(kCdata.size(), bare.size() - kCdata.size() - kCdataEnd.size()));
  std::string plain;
  if (arguments_.values.text == ValueSyntax::Text::kXml) text = plain = without_entities(text);
  if (is_text) return json_string(text);
  const ArgumentProperty* property = is_other ? nullptr : property_of(key);
  if (property != nullptr && property->is_text) return json_string(text);
  const std::string_view bare = without_blanks(text);
  if (is_json(bare)) return std::string(bare);
  if (arguments_.values.nested == ValueSyntax::Nested::kMarked) {
    const bool quotes = arguments_.values.quotes_text();
    std::string marked = whole_marked(text, arguments_.values, !quotes);
    if (!marked.empty()) return quotes ? marked : fitted_to(key, marked);
  }
  std::string literal = whole_literal(bare);
  // Quotes around a word are no reason to take them off.
  if (!literal.empty() && literal[0] != '"') return literal;
  return json_string(text);
}

}  // namespace spillway
