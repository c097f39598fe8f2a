// SPDX-License-Identifier: MIT
// Reads llama.cpp's grammar notation and tells whether a text is of the grammar. Small and slow, for tests: it knows
// what our grammars use, and complains about rules that are missing and about left recursion, as llama.cpp does.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spillway {

class GbnfMatcher {
 public:
  // Throws std::runtime_error for what is no grammar.
  explicit GbnfMatcher(const std::string& grammar) {
    size_t begin = 0;
    while (begin < grammar.size()) {
      const size_t end = std::min(grammar.find('\n', begin), grammar.size());
      const std::string line = grammar.substr(begin, end - begin);
      begin = end + 1;
      if (line.empty()) continue;
      const size_t mark = line.find(" ::= ");
      if (mark == std::string::npos) throw std::runtime_error("no rule: " + line);
      text_ = std::string_view(line).substr(mark + 5);
      at_ = 0;
      Node body = read_alternatives();
      if (at_ != text_.size()) throw std::runtime_error("left over in: " + line);
      if (!rules_.emplace(line.substr(0, mark), std::move(body)).second) throw std::runtime_error("twice: " + line);
    }
    if (rules_.count("root") == 0) throw std::runtime_error("no root");
    for (const auto& [name, body] : rules_) check_names(body);
    measure_heights();
  }

  bool matches(std::string_view text) {
    input_ = text;
    memo_.clear();
    open_.clear();
    return ends(rules_.at("root"), 0).count(text.size()) > 0;
  }

  // Some text of the grammar: short ways through it behind `depth_max` rules.
  template <typename Random>
  std::string sample(Random& random, int depth_max = 8) const {
    std::string text;
    write(rules_.at("root"), random, depth_max, text);
    return text;
  }

 private:
  struct Node {
    enum Kind { kLiteral, kClass, kRule, kSequence, kChoice, kRepeat } kind = kSequence;
    std::string text = {};                                   // literal, rule
    bool negated = false;                                    // class
    std::vector<std::pair<char32_t, char32_t>> ranges = {};  // class
    std::vector<Node> parts = {};
    size_t min = 0, max = 0;  // repeat; max 0: without end
  };
  using Ends = std::set<size_t>;

  void blanks() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Node read_alternatives() {
    Node choice{Node::kChoice};
    do {
      choice.parts.push_back(read_sequence());
      blanks();
    } while (take('|'));
    return choice;
  }

  Node read_sequence() {
    Node sequence{Node::kSequence};
    while (true) {
      blanks();
      if (at_ >= text_.size() || text_[at_] == '|' || text_[at_] == ')') return sequence;
      Node atom = read_atom();
      while (at_ < text_.size() && std::string_view("*+?{").find(text_[at_]) != std::string_view::npos)
        atom = read_count(std::move(atom));
      sequence.parts.push_back(std::move(atom));
    }
  }

  Node read_count(Node atom) {
    Node repeat{Node::kRepeat};
    const char c = text_[at_++];
    repeat.min = c == '+' ? 1 : 0;
    repeat.max = c == '?' ? 1 : 0;
    if (c == '{') {
      repeat.min = read_number();
      repeat.max = repeat.min;
      if (take(',')) repeat.max = at_ < text_.size() && text_[at_] == '}' ? 0 : read_number();
      if (!take('}')) throw std::runtime_error("{ without }");
    }
    repeat.parts.push_back(std::move(atom));
    return repeat;
  }
  size_t read_number() {
    if (at_ >= text_.size() || text_[at_] < '0' || text_[at_] > '9') throw std::runtime_error("no number");
    size_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9')
      value = value * 10 + static_cast<size_t>(text_[at_++] - '0');
    return value;
  }

  Node read_atom() {
    if (take('(')) {
      Node inside = read_alternatives();
      if (!take(')')) throw std::runtime_error("( without )");
      return inside;
    }
    if (take('"')) {
      Node literal{Node::kLiteral};
      while (!take('"')) append(literal.text, read_character());
      return literal;
    }
    if (take('[')) {
      Node set{Node::kClass};
      set.negated = take('^');
      while (!take(']')) {
        const char32_t first = read_character();
        const bool range = at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']';
        if (range) ++at_;
        set.ranges.emplace_back(first, range ? read_character() : first);
        if (set.ranges.back().second < first) throw std::runtime_error("an empty range");
      }
      return set;
    }
    Node rule{Node::kRule};
    while (at_ < text_.size() && (isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '-'))
      rule.text += text_[at_++];
    if (rule.text.empty()) throw std::runtime_error("unexpected: " + std::string(text_.substr(at_, 20)));
    return rule;
  }

  char32_t read_character() {
    if (at_ >= text_.size()) throw std::runtime_error("ends in quotes");
    if (text_[at_] != '\\') return decode(text_, at_);
    const char kind = text_.at(at_ + 1);
    at_ += 2;
    const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    if (digits > 0) {
      const auto value = static_cast<char32_t>(std::stoul(std::string(text_.substr(at_, digits)), nullptr, 16));
      at_ += digits;
      return value;
    }
    const size_t known = std::string_view("nrt\\\"[]").find(kind);
    if (known == std::string_view::npos) throw std::runtime_error(std::string("no escape: ") + kind);
    return static_cast<char32_t>("\n\r\t\\\"[]"[known]);
  }

  static char32_t decode(std::string_view text, size_t& at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t size = byte >= 0xF0u ? 4 : byte >= 0xE0u ? 3 : byte >= 0xC0u ? 2 : 1;
    char32_t c = size == 1 ? byte : byte & (0xFFu >> (size + 1));
    for (size_t k = 1; k < size && at + k < text.size(); ++k)
      c = (c << 6u) | (static_cast<unsigned char>(text[at + k]) & 0x3Fu);
    at = std::min(text.size(), at + size);
    return c;
  }
  static void append(std::string& text, char32_t c) {
    const auto byte = [&](uint32_t value) { text += static_cast<char>(value); };
    const auto code = static_cast<uint32_t>(c);
    if (code < 0x80) return byte(code);
    if (code < 0x800) return byte(0xC0u | code >> 6u), byte(0x80u | (code & 0x3Fu));
    if (code < 0x10000)
      return byte(0xE0u | code >> 12u), byte(0x80u | (code >> 6u & 0x3Fu)), byte(0x80u | (code & 0x3Fu));
    byte(0xF0u | code >> 18u);
    byte(0x80u | (code >> 12u & 0x3Fu));
    byte(0x80u | (code >> 6u & 0x3Fu));
    byte(0x80u | (code & 0x3Fu));
  }

  void check_names(const Node& node) const {
    if (node.kind == Node::kRule && rules_.count(node.text) == 0)
      throw std::runtime_error("no rule named " + node.text);
    for (const Node& part : node.parts) check_names(part);
  }

  static constexpr int kEndless = 1000;

  // How many rules deep the shortest way through a node is, as far as is known of the rules.
  int height(const Node& node) const {
    if (node.kind == Node::kRule) return std::min(kEndless, 1 + heights_.at(node.text));
    if (node.kind == Node::kRepeat && node.min == 0) return 0;
    int result = node.kind == Node::kChoice ? kEndless : 0;
    for (const Node& part : node.parts)
      result = node.kind == Node::kChoice ? std::min(result, height(part)) : std::max(result, height(part));
    return result;
  }
  void measure_heights() {
    for (const auto& [name, body] : rules_) heights_[name] = kEndless;
    for (bool changed = true; changed;) {
      changed = false;
      for (const auto& [name, body] : rules_) {
        const int known = height(body);
        changed = changed || known < heights_[name];
        heights_[name] = known;
      }
    }
  }

  template <typename Random>
  void write(const Node& node, Random& random, int depth, std::string& text) const {
    switch (node.kind) {
      case Node::kLiteral:
        text += node.text;
        return;
      case Node::kClass:
        return append(text, member(node, random));
      case Node::kRule:
        return write(rules_.at(node.text), random, depth - 1, text);
      case Node::kSequence:
        for (const Node& part : node.parts) write(part, random, depth, text);
        return;
      case Node::kRepeat: {
        const size_t more = depth <= 0 ? 0 : random() % 3;
        const size_t n = node.max == 0 ? node.min + more : std::min(node.max, node.min + more);
        for (size_t i = 0; i < n; ++i) write(node.parts[0], random, depth, text);
        return;
      }
      case Node::kChoice:
        break;
    }
    const Node* chosen = &node.parts[random() % node.parts.size()];
    if (depth <= 0)
      for (const Node& part : node.parts)
        if (height(part) < height(*chosen)) chosen = &part;
    write(*chosen, random, depth, text);
  }
  template <typename Random>
  static char32_t member(const Node& node, Random& random) {
    if (!node.negated) {
      const auto& [low, high] = node.ranges[random() % node.ranges.size()];
      return low + static_cast<char32_t>(random() % (high - low + 1));
    }
    for (;;) {
      static constexpr std::u32string_view kSome = U"<>{}[]/\"|`: \n\\aeiou0123p=é😀";
      const char32_t c = kSome[random() % kSome.size()];
      if (std::none_of(node.ranges.begin(), node.ranges.end(),
                       [&](const auto& range) { return range.first <= c && c <= range.second; }))
        return c;
    }
  }

  // Where the node's text may end when it begins at `from`.
  Ends ends(const Node& node, size_t from) {
    switch (node.kind) {
      case Node::kLiteral:
        return input_.substr(from).starts_with(node.text) ? Ends{from + node.text.size()} : Ends{};
      case Node::kClass: {
        if (from >= input_.size()) return {};
        size_t to = from;
        const char32_t c = decode(input_, to);
        bool inside = false;
        for (const auto& [low, high] : node.ranges) inside = inside || (low <= c && c <= high);
        return inside != node.negated ? Ends{to} : Ends{};
      }
      case Node::kRule: {
        const auto key = std::pair(node.text, from);
        if (const auto known = memo_.find(key); known != memo_.end()) return known->second;
        if (!open_.insert(key).second) throw std::runtime_error("left recursion in " + node.text);
        Ends result = ends(rules_.at(node.text), from);
        open_.erase(key);
        memo_[key] = result;
        return result;
      }
      case Node::kChoice: {
        Ends all;
        for (const Node& part : node.parts) all.merge(ends(part, from));
        return all;
      }
      case Node::kSequence: {
        Ends current = {from};
        for (const Node& part : node.parts) current = all_ends(part, current);
        return current;
      }
      case Node::kRepeat:
        break;
    }
    Ends current = {from}, all;
    if (node.min == 0) all = current;
    for (size_t n = 1; node.max == 0 || n <= node.max; ++n) {
      Ends next = all_ends(node.parts[0], current);
      if (n >= node.min) {
        const size_t before = all.size();
        all.insert(next.begin(), next.end());
        if (all.size() == before && n > node.min) break;
      }
      if (next.empty()) break;
      current = std::move(next);
    }
    return all;
  }
  Ends all_ends(const Node& node, const Ends& from) {
    Ends all;
    for (const size_t at : from) all.merge(ends(node, at));
    return all;
  }

  std::map<std::string, Node> rules_;
  std::map<std::string, int> heights_;
  std::string_view text_;
  size_t at_ = 0;
  std::string_view input_;
  std::map<std::pair<std::string, size_t>, Ends> memo_;
  std::set<std::pair<std::string, size_t>> open_;
};

}  // namespace spillway
