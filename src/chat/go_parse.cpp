// SPDX-License-Identifier: MIT
#include "chat/go_parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/utf8.h"
#include "chat/json_text.h"
#include "chat/text_tail.h"
#include "chat/value_text.h"

namespace spillway {
namespace {

constexpr size_t kNestingMax = 100;           // of blocks and brackets
constexpr size_t kTextBytesMax = 512u << 10;  // parsed it takes some hundred times that at worst
constexpr size_t kWordsMax = 256;             // of a command
constexpr size_t kVariablesMax = 1000;        // known in one place: each use looks through them
constexpr std::array<std::string_view, 20> kGoFunctions = {
    "and", "or", "not", "len", "index", "slice", "print", "printf",      "println",       "eq",
    "ne",  "lt", "le",  "gt",  "ge",    "html",  "json",  "currentDate", "yesterdayDate", "toTypeScriptType"};

struct Token {
  enum Kind { kEnd, kWord, kField, kVariable, kNumber, kText, kChar, kSign } kind = kEnd;
  std::string text = {};
  bool blank_before = false;
};

constexpr bool is_go_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         (static_cast<unsigned char>(c) & 0x80u) != 0;
}

// What stands between {{ and }}, token by token.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<std::vector<Token>> run() {
    std::vector<Token> tokens;
    while (true) {
      const size_t blanks = blanks_before(text_.substr(at_));
      at_ += blanks;
      if (at_ == text_.size()) break;
      ASSIGN_OR_RETURN(Token token, next());
      token.blank_before = blanks > 0;
      tokens.push_back(std::move(token));
    }
    tokens.push_back({.kind = Token::kEnd, .blank_before = true});
    return tokens;
  }

 private:
  Result<Token> next() {
    const char c = text_[at_];
    const bool digit_next = at_ + 1 < text_.size() && text_[at_ + 1] >= '0' && text_[at_ + 1] <= '9';
    if (c == '"' || c == '\'' || c == '`') return quoted(c);
    if ((c >= '0' && c <= '9') || ((c == '-' || c == '+' || c == '.') && digit_next)) return number();
    if (c == '.' || c == '$') {
      const size_t begin = ++at_;
      while (at_ < text_.size() && is_go_word(text_[at_])) ++at_;
      return Token{c == '.' ? Token::kField : Token::kVariable, std::string(text_.substr(begin, at_ - begin))};
    }
    if (is_go_word(c)) {
      const size_t begin = at_;
      while (at_ < text_.size() && is_go_word(text_[at_])) ++at_;
      return Token{Token::kWord, std::string(text_.substr(begin, at_ - begin))};
    }
    if (text_.substr(at_).starts_with(":=")) {
      at_ += 2;
      return Token{Token::kSign, ":="};
    }
    if (std::string_view("()|,=").find(c) == std::string_view::npos)
      return error(Code::kUnsupported, fmt::format("unexpected '{}'", c));
    ++at_;
    return Token{Token::kSign, std::string(1, c)};
  }

  Result<Token> quoted(char quote) {
    for (size_t i = at_ + 1; i < text_.size(); ++i) {
      if (text_[i] == '\\' && quote != '`') {
        ++i;
        continue;
      }
      if (text_[i] == '\n' && quote != '`') break;
      if (text_[i] != quote) continue;
      const std::string_view inside = text_.substr(at_ + 1, i - at_ - 1);
      at_ = i + 1;
      const auto kind = quote == '\'' ? Token::kChar : Token::kText;
      return Token{kind, quote == '`' ? std::string(inside) : unescaped(inside)};
    }
    return error(Code::kUnsupported, "text that is not closed");
  }

  Result<Token> number() {
    const size_t begin = at_++;
    while (at_ < text_.size() &&
           (is_go_word(text_[at_]) || text_[at_] == '.' ||
            ((text_[at_] == '-' || text_[at_] == '+') && (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E'))))
      ++at_;
    return Token{Token::kNumber, std::string(text_.substr(begin, at_ - begin))};
  }

  const std::string_view text_;
  size_t at_ = 0;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<GoTemplateText> run() {
    if (text_.size() > kTextBytesMax) return fail("it is too long");
    variables_ = {""};
    RETURN_IF_ERROR(cut());
    ASSIGN_OR_RETURN(const std::string end, nodes(result_.root));
    if (!end.empty()) return fail(fmt::format("unexpected {{{{{}}}}}", end));
    for (const auto& [name, line] : called_)
      if (!result_.named.contains(name)) {
        line_ = line;
        return fail(fmt::format("template \"{}\" is not defined", name));
      }
    return std::move(result_);
  }

 private:
  struct Piece {
    bool is_action = false;
    std::string text;
    size_t line = 1;
  };

  Failure fail(const std::string& what) const {
    return error(Code::kUnsupported, fmt::format("line {}: {}", line_, shortened(what)));
  }

  // 1. The text as pieces: what is written as it is, and actions.
  Result<void> cut() {
    size_t at = 0, counted_to = 0;
    bool trim = false;
    while (true) {
      const size_t open = std::min(text_.find("{{", at), text_.size());
      std::string_view text = text_.substr(at, open - at);
      const size_t text_begin = at;
      if (trim) text.remove_prefix(blanks_before(text));
      const std::string_view uncounted = text_.substr(counted_to, open - counted_to);
      line_ += static_cast<size_t>(std::count(uncounted.begin(), uncounted.end(), '\n'));
      counted_to = open;
      if (open == text_.size()) {
        pieces_.push_back({false, std::string(text), line_});
        return {};
      }
      size_t begin = open + 2;
      const bool trims_before = begin + 1 < text_.size() && text_[begin] == '-' && is_blank(text_[begin + 1]);
      if (trims_before) {
        text = text.substr(0, end_without_blanks(text, text.size()));
        ++begin;
      }
      (void)text_begin;
      pieces_.push_back({false, std::string(text), line_});
      ASSIGN_OR_RETURN(const size_t close, action_end(begin));
      std::string_view inside = text_.substr(begin, close - begin);
      trim = inside.size() > 1 && inside.back() == '-' && is_blank(inside[inside.size() - 2]);
      if (trim) inside.remove_suffix(1);
      at = close + 2;
      const std::string_view bare = without_blanks(inside);
      if (bare.starts_with("/*")) {
        if (!bare.ends_with("*/") || bare.size() < 4) return fail("a comment that is not closed");
        continue;
      }
      pieces_.push_back({true, std::string(inside), line_});
    }
  }

  // Where the }} is that closes the action; text in quotes may hold it.
  Result<size_t> action_end(size_t begin) const {
    const std::string_view bare = text_.substr(begin + blanks_before(text_.substr(begin)));
    if (bare.starts_with("/*")) {
      const size_t end = text_.find("*/", begin);
      const size_t close = end == std::string_view::npos ? end : text_.find("}}", end);
      if (close == std::string_view::npos) return fail("a comment that is not closed");
      return close;
    }
    for (size_t i = begin; i < text_.size(); ++i) {
      const char c = text_[i];
      if (c == '"' || c == '\'' || c == '`') {
        size_t end = i + 1;
        while (end < text_.size() && text_[end] != c) end += text_[end] == '\\' && c != '`' ? 2 : 1;
        i = end;
      } else if (text_.substr(i).starts_with("}}")) {
        return i;
      }
    }
    return fail("an action that is not closed with }}");
  }

  // 2. Nodes up to an action that ends them: its word, or "" at the end of the text.
  Result<std::string> nodes(GoNodes& into) {
    if (++depth_ > kNestingMax) return fail("nested too deeply");
    const size_t known = variables_.size();
    while (next_ < pieces_.size()) {
      const Piece& piece = pieces_[next_++];
      line_ = piece.line;
      if (!piece.is_action) {
        if (!piece.text.empty()) into.push_back({.kind = GoNode::kText, .text = piece.text});
        continue;
      }
      auto tokens = Lexer(piece.text).run();
      if (!tokens) return fail(tokens.error().message());
      tokens_ = std::move(*tokens);
      token_ = 0;
      const std::string word = tokens_[0].kind == Token::kWord ? tokens_[0].text : "";
      if (word == "end" || word == "else") {
        ++token_;
        --depth_;
        variables_.resize(known);
        return word;
      }
      RETURN_IF_ERROR(action(word, into));
    }
    --depth_;
    variables_.resize(known);
    return std::string();
  }

  Result<void> action(const std::string& word, GoNodes& into) {
    for (const auto& [name, kind] : {std::pair("if", GoNode::kIf), {"range", GoNode::kRange}, {"with", GoNode::kWith}})
      if (word == name) {
        ++token_;
        return block(kind, into);
      }
    if (word == "break" || word == "continue") {
      if (loops_ == 0) return fail(fmt::format("{{{{{}}}}} outside of a range", word));
      ++token_;
      into.push_back({.kind = word == "break" ? GoNode::kBreak : GoNode::kContinue});
      return at_end();
    }
    if (word == "template") return call_of_template(into);
    if (word == "define" || word == "block") return definition(word == "block", into);
    GoNode node{.kind = GoNode::kAction};
    ASSIGN_OR_RETURN(node.pipe, pipe(false));
    RETURN_IF_ERROR(at_end());
    into.push_back(std::move(node));
    return {};
  }

  Result<void> at_end() const {
    if (tokens_[token_].kind == Token::kEnd) return {};
    return fail(fmt::format("unexpected {} in an action", tokens_[token_].text));
  }

  // if, range and with; behind {{else if …}} too, which has no {{end}} of its own.
  Result<void> block(GoNode::Kind kind, GoNodes& into) {
    const size_t known = variables_.size();
    GoNode node{.kind = kind};
    ASSIGN_OR_RETURN(node.pipe, pipe(kind == GoNode::kRange));
    RETURN_IF_ERROR(at_end());
    loops_ += kind == GoNode::kRange ? 1 : 0;
    ASSIGN_OR_RETURN(std::string end, nodes(node.then));
    loops_ -= kind == GoNode::kRange ? 1 : 0;
    if (end == "else") {
      const std::string next = tokens_[token_].kind == Token::kWord ? tokens_[token_].text : "";
      if ((kind == GoNode::kIf && next == "if") || (kind == GoNode::kWith && next == "with")) {
        ++token_;
        if (++depth_ > kNestingMax) return fail("nested too deeply");
        RETURN_IF_ERROR(block(kind, node.otherwise));
        --depth_;
        end = "end";
      } else {
        RETURN_IF_ERROR(at_end());
        ASSIGN_OR_RETURN(end, nodes(node.otherwise));
        if (end == "end") RETURN_IF_ERROR(at_end());
      }
    } else if (end == "end") {
      RETURN_IF_ERROR(at_end());
    }
    if (end != "end") return fail(end.empty() ? "a block without {{end}}" : "unexpected {{else}}");
    variables_.resize(known);
    into.push_back(std::move(node));
    return {};
  }

  Result<void> call_of_template(GoNodes& into) {
    ++token_;
    if (tokens_[token_].kind != Token::kText) return fail("template wants a name in quotes");
    GoNode node{.kind = GoNode::kTemplate, .text = tokens_[token_++].text};
    called_.emplace_back(node.text, line_);
    if (tokens_[token_].kind != Token::kEnd) {
      ASSIGN_OR_RETURN(node.pipe, pipe(false));
    }
    RETURN_IF_ERROR(at_end());
    into.push_back(std::move(node));
    return {};
  }

  // Its variables are its own.
  Result<void> definition(bool is_block, GoNodes& into) {
    ++token_;
    if (tokens_[token_].kind != Token::kText) return fail("define wants a name in quotes");
    GoNode call{.kind = GoNode::kTemplate, .text = tokens_[token_++].text};
    if (is_block) {
      ASSIGN_OR_RETURN(call.pipe, pipe(false));
    }
    RETURN_IF_ERROR(at_end());
    auto outer = std::exchange(variables_, {""});
    const size_t loops = std::exchange(loops_, 0);
    GoNodes body;
    ASSIGN_OR_RETURN(const std::string end, nodes(body));
    if (end != "end") return fail("a definition without {{end}}");
    variables_ = std::move(outer);
    loops_ = loops;
    result_.named[call.text] = std::move(body);
    if (is_block) into.push_back(std::move(call));
    return {};
  }

  // 3. Pipelines.
  Result<GoPipe> pipe(bool may_have_two) {
    if (++depth_ > kNestingMax) return fail("nested too deeply");
    GoPipe result;
    RETURN_IF_ERROR(declaration(result, may_have_two));
    while (true) {
      std::vector<GoArgument> command;
      while (!ends_command()) {
        if (!command.empty() && !tokens_[token_].blank_before) return fail("unexpected " + tokens_[token_].text);
        ASSIGN_OR_RETURN(GoArgument one, argument());
        command.push_back(std::move(one));
        if (command.size() > kWordsMax) return fail("a command of too many words");
      }
      if (command.empty()) return fail("a command is missing");
      const bool takes_more = command.front().kind == GoArgument::kFunction;
      if (!takes_more && (command.size() > 1 || !result.commands.empty()))
        return fail("only a function can be given arguments");
      result.commands.push_back(std::move(command));
      if (!is_sign("|")) break;
      ++token_;
    }
    --depth_;
    // What is declared is known from here on.
    if (!result.assigns)
      for (const std::string& name : result.variables) variables_.push_back(name);
    if (variables_.size() > kVariablesMax) return fail("too many variables");
    return result;
  }

  Result<void> declaration(GoPipe& result, bool may_have_two) {
    if (tokens_[token_].kind != Token::kVariable) return {};
    const bool two = may_have_two && tokens_[token_ + 1].text == "," && tokens_[token_ + 1].kind == Token::kSign &&
                     tokens_[std::min(token_ + 2, tokens_.size() - 1)].kind == Token::kVariable;
    const size_t sign = token_ + (two ? 3 : 1);
    if (sign >= tokens_.size() || tokens_[sign].kind != Token::kSign) return {};
    if (tokens_[sign].text != ":=" && tokens_[sign].text != "=") return {};
    result.assigns = tokens_[sign].text == "=";
    result.variables.push_back(tokens_[token_].text);
    if (two) result.variables.push_back(tokens_[token_ + 2].text);
    if (result.assigns)
      for (const std::string& name : result.variables) RETURN_IF_ERROR(known_variable(name));
    token_ = sign + 1;
    return {};
  }

  Result<void> known_variable(const std::string& name) const {
    if (std::find(variables_.begin(), variables_.end(), name) != variables_.end()) return {};
    return fail(fmt::format("${} is not declared", name));
  }

  bool is_sign(std::string_view sign) const {
    return tokens_[token_].kind == Token::kSign && tokens_[token_].text == sign;
  }
  bool ends_command() const { return tokens_[token_].kind == Token::kEnd || is_sign("|") || is_sign(")"); }

  Result<GoArgument> argument() {
    const Token token = tokens_[token_++];
    GoArgument result;
    switch (token.kind) {
      case Token::kText:
        result = {.kind = GoArgument::kConstant, .constant = token.text};
        break;
      case Token::kChar:
        if (token.text.empty()) return fail("'' is no character");
        result = {.kind = GoArgument::kConstant, .constant = first_character(token.text)};
        break;
      case Token::kNumber: {
        ASSIGN_OR_RETURN(result, number(token.text));
        break;
      }
      case Token::kField:
        if (token.text.empty())
          result.kind = GoArgument::kDot;
        else
          result = {.kind = GoArgument::kField, .names = {token.text}};
        break;
      case Token::kVariable:
        RETURN_IF_ERROR(known_variable(token.text));
        result = {.kind = GoArgument::kVariable, .names = {token.text}};
        break;
      case Token::kWord: {
        ASSIGN_OR_RETURN(result, word(token.text));
        break;
      }
      default:
        if (token.text != "(") return fail("unexpected " + token.text);
        {
          ASSIGN_OR_RETURN(GoPipe inside, pipe(false));
          if (!is_sign(")")) return fail("a bracket that is not closed");
          ++token_;
          result = {.kind = GoArgument::kPipe, .pipe = std::make_shared<const GoPipe>(std::move(inside))};
        }
    }
    // .A.B, $x.A, (…).A: what follows without a blank.
    while (tokens_[token_].kind == Token::kField && !tokens_[token_].blank_before) {
      const bool may =
          result.kind == GoArgument::kField || result.kind == GoArgument::kVariable || result.kind == GoArgument::kPipe;
      if (!may || tokens_[token_].text.empty()) return fail("unexpected ." + tokens_[token_].text);
      result.names.push_back(tokens_[token_++].text);
    }
    return result;
  }

  Result<GoArgument> word(const std::string& text) const {
    if (text == "true" || text == "false") return GoArgument{.kind = GoArgument::kConstant, .constant = text == "true"};
    if (text == "nil") return GoArgument{.kind = GoArgument::kConstant};
    if (!is_go_function(text)) return fail(fmt::format("function \"{}\" is not known", text));
    return GoArgument{.kind = GoArgument::kFunction, .names = {text}};
  }

  Result<GoArgument> number(const std::string& text) const {
    std::string digits = text[0] == '+' ? text.substr(1) : text;
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    // 0x, 0b, 0o and 0 in front of whole numbers.
    const size_t sign = digits.starts_with('-') ? 1 : 0;
    int base = 10;
    if (digits.size() > sign + 1 && digits[sign] == '0' && digits.find_first_of(".eE") == std::string::npos) {
      const char letter = digits[sign + 1];
      base = letter == 'x' || letter == 'X' ? 16 : letter == 'b' || letter == 'B' ? 2 : 8;
      digits.erase(sign, base == 8 && letter != 'o' && letter != 'O' ? 1 : 2);
    }
    int64_t whole = 0;
    const char *begin = digits.data(), *end = begin + digits.size();
    if (const auto read = std::from_chars(begin, end, whole, base); read.ptr == end && read.ec == std::errc())
      return GoArgument{.kind = GoArgument::kConstant, .constant = whole};
    double real = 0;
    const auto read = std::from_chars(begin, end, real);
    if (base == 10 && read.ptr == end && read.ec == std::errc())
      return GoArgument{.kind = GoArgument::kConstant, .constant = real};
    return fail(fmt::format("{} is no number", text));
  }

  static int64_t first_character(const std::string& text) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const size_t size = byte >= 0xF0u ? 4 : byte >= 0xE0u ? 3 : byte >= 0xC0u ? 2 : 1;
    int64_t code = size == 1 ? byte : byte & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size && i < text.size(); ++i)
      code = code * 64 + (static_cast<unsigned char>(text[i]) & 0x3Fu);
    return code;
  }

  const std::string_view text_;
  std::vector<Piece> pieces_;
  size_t next_ = 0;  // piece
  std::vector<Token> tokens_;
  size_t token_ = 0;
  std::vector<std::string> variables_;  // that are declared here
  std::vector<std::pair<std::string, size_t>> called_;
  size_t depth_ = 0, loops_ = 0, line_ = 1;
  GoTemplateText result_;
};

std::string lowered(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

bool reads_in(const GoNodes& nodes, std::string_view name);
bool reads_in(const GoPipe& pipe, std::string_view name) {
  for (const auto& command : pipe.commands)
    for (const GoArgument& one : command) {
      for (const std::string& word : one.names)
        if (one.kind != GoArgument::kFunction && lowered(word) == name) return true;
      if (one.pipe != nullptr && reads_in(*one.pipe, name)) return true;
    }
  return false;
}
bool reads_in(const GoNodes& nodes, std::string_view name) {
  return std::any_of(nodes.begin(), nodes.end(), [&](const GoNode& node) {
    return reads_in(node.pipe, name) || reads_in(node.then, name) || reads_in(node.otherwise, name);
  });
}

}  // namespace

bool GoTemplateText::reads(std::string_view name) const {
  return reads_in(root, name) ||
         std::any_of(named.begin(), named.end(), [&](const auto& entry) { return reads_in(entry.second, name); });
}

bool is_go_function(std::string_view name) {
  return std::find(kGoFunctions.begin(), kGoFunctions.end(), name) != kGoFunctions.end();
}

Result<GoTemplateText> parse_go_template(std::string_view text) { return Parser(text).run(); }

}  // namespace spillway
