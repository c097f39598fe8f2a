// SPDX-License-Identifier: MIT
#include "chat/value_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/json_writer.h"
#include "base/saturating_sub.h"
#include "chat/gbnf.h"
#include "chat/grammar.h"
#include "chat/json_text.h"
#include "chat/pattern_reader.h"
#include "chat/schema_merge.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kAnyValue = "{}";
constexpr const char* kLeftOut = "value-left-out";  // in place of a rule that a grammar has no room for
constexpr int kDepthMax = 16;                       // deeper than that any value will do
constexpr size_t kPartsMax = 20'000, kTypesMax = 100, kInlineBytesMax = 1024;
// Of all properties: each has a copy of the definitions that it may refer to. Beyond that any value will do.
constexpr size_t kPropertiesBytesMax = 32u << 20;
constexpr const char* kInteger = R"("-"? ("0" | [1-9] [0-9]{0,15}))";
constexpr const char* kNumber = R"("-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?)";
constexpr const char* kKeyName = "[a-zA-Z_] [a-zA-Z0-9_]{0,31}";

// null: not there.
const Json* field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

std::string literal_or_nothing(const std::string& text) { return text.empty() ? "" : gbnf_literal(text) + " "; }

// `pattern` with its key placeholder written as `key`, which is an expression.
std::string keyed(const Pattern& pattern, const std::string& key) {
  const size_t split = pattern.find(placeholder::kKey);
  if (split == std::string::npos) return gbnf_literal(pattern);
  return literal_or_nothing(pattern.substr(0, split)) + key + " " + gbnf_literal(pattern.substr(split + 1));
}

ValueSyntax nested_syntax(const ValueSyntax& syntax) {
  if (syntax.nested != ValueSyntax::Nested::kPython) return syntax;
  ValueSyntax python = syntax;
  python.nested = ValueSyntax::Nested::kMarked;
  python.text = ValueSyntax::Text::kPython;
  python.text_open = python.text_close = "'";
  python.object = {
      .empty = "{}", .begin = "{", .between = ", ", .end = "}", .key = std::string("'") + placeholder::kKey + "': "};
  python.list = {.empty = "[]", .begin = "[", .between = ", ", .end = "]"};
  python.true_word = "True";
  python.false_word = "False";
  python.null_word = "None";
  return python;
}

std::string escaped_for_python(const std::string& text, char quote) {
  std::string out;
  for (const char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == quote || c == '\\')
      (out += '\\') += c;
    else
      out += c;
  }
  return out;
}

std::string escaped_for_xml(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

std::string marked_text(const std::string& text, const ValueSyntax& syntax) {
  switch (syntax.text) {
    case ValueSyntax::Text::kRaw:
      break;
    case ValueSyntax::Text::kJson: {
      const std::string quoted = json_string(text);
      return syntax.text_open + quoted.substr(1, quoted.size() - 2) + syntax.text_close;
    }
    case ValueSyntax::Text::kXml:
      return syntax.text_open + escaped_for_xml(text) + syntax.text_close;
    case ValueSyntax::Text::kPython:
      return syntax.text_open + escaped_for_python(text, syntax.text_open.empty() ? '\'' : syntax.text_open.back()) +
             syntax.text_close;
  }
  return syntax.text_open + text + syntax.text_close;
}

}  // namespace

std::string value_text(const Json& value, const ValueSyntax& own) {
  if (value.is_string()) return marked_text(value.get<std::string>(), own);
  if (value.is_boolean()) return value.get<bool>() ? own.true_word : own.false_word;
  if (value.is_null()) return own.null_word;
  if (own.nested == ValueSyntax::Nested::kJson || !value.is_structured()) return write_json(value);
  const ValueSyntax syntax = nested_syntax(own);
  const MarkedItems& items = value.is_object() ? syntax.object : syntax.list;
  if (value.empty()) return items.empty;
  std::string out = items.begin;
  bool first = true;
  for (const auto& [key, one] : value.items()) {
    if (!std::exchange(first, false)) out += items.between;
    out += with_placeholder(items.key, placeholder::kKey, key) + value_text(one, syntax) +
           with_placeholder(items.value_end, placeholder::kKey, key);
  }
  return out + items.end;
}

SchemaRules rules_or(std::vector<std::string> schemas, const char* otherwise, JsonSpacing spacing) {
  SchemaWork work;
  std::set<std::string> left_out;
  auto rules = rules_of_schemas(schemas, spacing, &work, &left_out);
  if (rules) return std::move(*rules);
  schemas.assign(schemas.size(), otherwise);
  return *rules_of_schemas(schemas, spacing);
}

std::string gbnf_members(const std::vector<GbnfMember>& members, const std::string& begin, const std::string& between,
                         const std::string& end, const std::string& none,
                         const std::function<std::string(const std::string&)>& rule) {
  std::string tail = end;
  std::vector<std::string> alternatives;
  for (size_t i = members.size(); i-- > 0;) {
    const std::string& one = members[i].expression;
    if (members[i].required) alternatives.clear();  // those that leave it out
    alternatives.push_back(fmt::format("{} {} {}", begin, one, tail));
    tail = rule(members[i].required ? fmt::format("{} {} {}", between, one, tail)
                                    : fmt::format("({} {})? {}", between, one, tail));
  }
  const bool may_be_none =
      std::none_of(members.begin(), members.end(), [](const GbnfMember& member) { return member.required; });
  std::reverse(alternatives.begin(), alternatives.end());
  if (may_be_none) alternatives.push_back(none);
  return gbnf_any_of(alternatives);
}

ValueGrammar::ValueGrammar(const ArgumentSyntax& arguments, std::vector<Pattern> raw_ends)
    : syntax_(arguments.values),
      nested_(nested_syntax(arguments.values)),
      spaced_(arguments.spaced),
      raw_ends_(std::move(raw_ends)) {
  const auto quoted = [](char quote) {
    return fmt::format(R"([^{}\\\x00-\x1F\x7F] | "\\" ['"\\nrt])", gbnf_class_character(static_cast<char32_t>(quote)));
  };
  fixed_rules_ = fmt::format("value-single ::= {}\nvalue-double ::= {}\n", quoted('\''), quoted('"'));
  if (syntax_.quotes_text() && syntax_.text == ValueSyntax::Text::kRaw)
    fixed_rules_ += gbnf_text_without({syntax_.text_close}, "value-closed");
}

size_t ValueGrammar::add(const ArgumentSchema& tool, const ArgumentProperty& property) {
  std::string schema;
  if (schema_bytes_ <= kPropertiesBytesMax) schema = tool.text_of(property);
  schema_bytes_ += schema.size();
  std::set<std::string> left_out;
  const bool is_kept = schema_bytes_ <= kPropertiesBytesMax && grammar_of_schema(schema, &work_, &left_out);
  schemas_.push_back(is_kept ? std::move(schema) : kAnyValue);
  properties_.push_back(&property);
  return properties_.size() - 1;
}

void ValueGrammar::finish() {
  const SchemaRules json = rules_or(schemas_, kAnyValue, spaced_ ? JsonSpacing::kSpaced : JsonSpacing::kTight);
  fixed_rules_ += json.text;
  for (size_t i = 0; i < properties_.size(); ++i)
    expressions_.push_back(of_property(*properties_[i], json.expressions[i]));
}

// Text that does not hold what ends it.
std::string ValueGrammar::raw_text() {
  if (is_too_large()) return kLeftOut;
  std::string all;
  for (const std::string& end : ends_) all += end + "\n";
  const auto [known, added] = raw_names_.try_emplace(std::move(all), fmt::format("value-raw-{}", raw_names_.size()));
  if (added) fixed_rules_ += gbnf_text_without(ends_, known->second);
  return known->second;
}

std::string ValueGrammar::rule(const std::string& text) {
  if (is_too_large()) return kLeftOut;
  const auto [known, added] = rule_names_.try_emplace(text, fmt::format("value-{}", rules_.size()));
  if (added) {
    rules_.emplace_back(text, known->second);
    rule_bytes_ += text.size();
  }
  return known->second;
}

std::string ValueGrammar::rules() const {
  std::string out = fixed_rules_;
  for (const auto& [text, name] : rules_) out += fmt::format("{} ::= {}\n", name, text);
  return out;
}

std::string ValueGrammar::of_property(const ArgumentProperty& property, const std::string& as_json) {
  ends_.clear();
  for (const Pattern& end : raw_ends_) ends_.push_back(with_placeholder(end, placeholder::kKey, property.name));
  if (property.is_text && syntax_.text != ValueSyntax::Text::kJson) return text(syntax_, property.texts);
  if (property.is_text && syntax_.text_open == "\"") return "(" + as_json + ")";
  std::string value = "(" + as_json + ")";
  if (syntax_.nested != ValueSyntax::Nested::kJson)
    value = nested(*property.schema, *property.root, 0);
  else if (const Json& schema = *property.schema;
           schema.is_object() && schema.contains("type") && schema["type"] == "boolean")
    value = gbnf_any_of({gbnf_literal(syntax_.true_word), gbnf_literal(syntax_.false_word)});
  return literal_or_nothing(syntax_.other_open) + value + " " + gbnf_literal(syntax_.other_close);
}

std::string ValueGrammar::text(const ValueSyntax& syntax, const std::vector<std::string>& only) {
  std::vector<std::string> texts;
  texts.reserve(only.size());
  for (const std::string& one : only) texts.push_back(gbnf_literal(marked_text(one, syntax)));
  if (!texts.empty()) return gbnf_any_of(texts);
  std::string inside;
  if (syntax.text == ValueSyntax::Text::kXml)
    inside = R"(([^<>&] | "&lt;" | "&gt;" | "&amp;")*)";
  else if (syntax.text != ValueSyntax::Text::kRaw)
    inside = syntax.text_open.ends_with('"') ? "value-double*" : "value-single*";
  else
    inside = syntax.quotes_text() ? "value-closed" : raw_text();
  // Python writes text in whichever quotes it holds none of.
  if (&syntax == &nested_ && syntax.text == ValueSyntax::Text::kPython)
    return R"("'" value-single* "'" | "\"" value-double* "\"")";
  return literal_or_nothing(syntax.text_open) + inside + " " + gbnf_literal(syntax.text_close);
}

// In a notation of marks, and python's. References and alternatives can make a small schema a large one: beyond so many
// parts any value will do. What is long is written once, since what holds it may write it twice.
std::string ValueGrammar::nested(const Json& schema, const Json& root, int depth) {
  if (!schema.is_object() || depth > kDepthMax || !charge(1)) return any_value();
  std::string expression = nested_expression(schema, root, depth);
  return expression.size() > kInlineBytesMax ? rule(expression) : expression;
}

// false: there were too many parts already, and these are too many.
bool ValueGrammar::charge(uint64_t steps) {
  n_parts_ += steps;
  return n_parts_ <= kPartsMax && !is_too_large();
}

std::string ValueGrammar::nested_expression(const Json& schema, const Json& root, int depth) {
  if (const Json* ref = field(schema, "$ref"); ref != nullptr && ref->is_string()) {
    const auto& pointer = ref->get_ref<const std::string&>();
    if (!pointer.starts_with('#') || !charge(pointer.size() / 64)) return any_value();
    try {
      return nested(root.at(Json::json_pointer(pointer.substr(1))), root, depth + 1);
    } catch (const nlohmann::json::exception&) {
      return any_value();
    }
  }
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const Json* parts = field(schema, keyword);
    if (parts == nullptr || !parts->is_array() || parts->empty()) continue;
    std::vector<std::string> alternatives;
    for (const Json& part : *parts) alternatives.push_back(nested(part, root, depth + 1));
    return gbnf_any_of(alternatives);
  }
  // What follows looks at all that stands here, and references may lead here again and again.
  if (const Json* only = field(schema, "const"); only != nullptr) {
    if (!charge(steps_through(*only))) return any_value();
    return gbnf_any_of({gbnf_literal(value_text(*only, nested_))});
  }
  if (const Json* values = field(schema, "enum"); values != nullptr && values->is_array() && !values->empty()) {
    if (!charge(steps_through(*values))) return any_value();
    std::vector<std::string> alternatives;
    for (const Json& value : *values) alternatives.push_back(gbnf_literal(value_text(value, nested_)));
    return gbnf_any_of(alternatives);
  }
  const Json* type = field(schema, "type");
  const Json implied(schema.contains("properties") ? "object" : "");
  if (type == nullptr || !type->is_array() || type->empty())
    return nested_of_type(schema, type != nullptr ? *type : implied, root, depth);
  if (type->size() > kTypesMax) return any_value();
  std::vector<std::string> alternatives;
  for (const Json& one : *type) alternatives.push_back(nested_of_type(schema, one, root, depth + 1));
  return gbnf_any_of(alternatives);
}

std::string ValueGrammar::nested_of_type(const Json& schema, const Json& type, const Json& root, int depth) {
  if (type == "string") return "(" + text(nested_, {}) + ")";
  if (type == "integer") return kInteger;
  if (type == "number") return kNumber;
  if (type == "boolean") return gbnf_any_of({gbnf_literal(nested_.true_word), gbnf_literal(nested_.false_word)});
  if (type == "null") return gbnf_literal(nested_.null_word);
  if (type == "array") return nested_list(schema, root, depth);
  if (type == "object" && schema.contains("properties")) return nested_object(schema, root, depth);
  return any_value();
}

std::string ValueGrammar::nested_object(const Json& schema, const Json& root, int depth) {
  const MarkedItems& items = nested_.object;
  const Json* listed = field(schema, "required");
  if (listed != nullptr && !charge(steps_through(*listed))) return any_value();
  const std::set<std::string> required = texts_of(listed);
  std::vector<GbnfMember> members;
  if (!schema["properties"].is_object()) return any_value();
  for (const auto& [key, value] : schema["properties"].items()) {
    if (!charge(key.size() / 64)) return any_value();
    const auto outer = ends_;
    if (const std::string end = with_placeholder(items.value_end, placeholder::kKey, key); !end.empty()) ends_ = {end};
    const bool needed = required.contains(key);
    members.push_back({fmt::format("{} {} {}", gbnf_literal(with_placeholder(items.key, placeholder::kKey, key)),
                                   nested(value, root, depth + 1),
                                   gbnf_literal(with_placeholder(items.value_end, placeholder::kKey, key))),
                       needed});
    ends_ = outer;
  }
  return gbnf_members(members, gbnf_literal(items.begin), gbnf_literal(items.between), gbnf_literal(items.end),
                      gbnf_literal(items.empty), [this](const std::string& body) { return rule(body); });
}

std::string ValueGrammar::nested_list(const Json& schema, const Json& root, int depth) {
  const MarkedItems& items = nested_.list;
  const Json* items_of = field(schema, "items");
  const auto count = [&](const char* keyword) -> std::optional<uint64_t> {
    const Json value = schema.value(keyword, Json());
    if (!value.is_number_unsigned()) return std::nullopt;
    return std::min(value.get<uint64_t>(), kGbnfRepeatMax);
  };
  const uint64_t min = count("minItems").value_or(0);
  const auto max = count("maxItems");
  if (max && *max < min) return any_value();  // nobody can write such a list, and no grammar can say it
  const auto outer = ends_;
  if (!items.value_end.empty()) ends_ = {items.value_end};
  const std::string one =
      fmt::format("{} {} {}", gbnf_literal(items.key),
                  nested(items_of != nullptr ? *items_of : Json(), root, depth + 1), gbnf_literal(items.value_end));
  ends_ = outer;
  const std::string name = rule(one);
  const std::string more = gbnf_repeat(gbnf_literal(items.between) + " " + name, saturating_sub(min, 1),
                                       max && *max > 0 ? std::optional(*max - 1) : std::nullopt);
  const std::string some = fmt::format("{} {} {} {}", gbnf_literal(items.begin), name, more, gbnf_literal(items.end));
  if (max == 0) return gbnf_literal(items.empty);
  return min > 0 ? "(" + some + ")" : gbnf_any_of({some, gbnf_literal(items.empty)});
}

std::string ValueGrammar::any_value() {
  if (!nested_.quotes_text()) return text(nested_, {});
  if (std::exchange(has_any_, true)) return "value-any";
  std::vector<std::string> kinds = {text(nested_, {}), kNumber, gbnf_literal(nested_.true_word),
                                    gbnf_literal(nested_.false_word), gbnf_literal(nested_.null_word)};
  const auto items_of = [](const MarkedItems& items) {
    const std::string one =
        keyed(items.key, std::string("(") + kKeyName + ")") + " value-any " + gbnf_literal(items.value_end);
    return fmt::format("{} {} ({} {})* {} | {}", gbnf_literal(items.begin), one, gbnf_literal(items.between), one,
                       gbnf_literal(items.end), gbnf_literal(items.empty));
  };
  kinds.push_back(items_of(nested_.list));
  // Where a mark behind the value names its key again, no grammar can say it.
  if (nested_.object.value_end.find(placeholder::kKey) == std::string::npos) kinds.push_back(items_of(nested_.object));
  fixed_rules_ += fmt::format("value-any ::= {}\n", fmt::join(kinds, " | "));
  return "value-any";
}

}  // namespace spillway
