// SPDX-License-Identifier: MIT
// Each schema becomes an expression; those that others refer to, and the tails of objects, become rules. A $ref that is
// met again while it is being read is a recursion, and its rule's name is all that is needed.
#include "chat/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <unordered_set>

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "base/saturating_sub.h"
#include "base/utf8.h"
#include "chat/gbnf.h"
#include "chat/regex_grammar.h"
#include "chat/schema_merge.h"

namespace spillway {
namespace {

constexpr size_t kGrammarBytesMax = 4u << 20;
constexpr size_t kSchemaBytesMax = 4u << 20;
constexpr size_t kInlineBytesMax = 1024;
constexpr int kDepthMax = 64;
// Further than anybody writes, and short enough that looking through them for each other takes no time.
constexpr size_t kKeywordsMax = 1000, kTypesMax = 100, kPatternBytesMax = 64 << 10;
// Of names that others are told apart from: each character becomes some fifty of the grammar.
constexpr size_t kOtherNamesBytesMax = kGrammarBytesMax / 50;

// The rules of JSON itself. Those that are used go into the grammar, with what they use.
struct Primitive {
  const char* text;
  std::vector<std::string> uses;
};
const std::map<std::string, Primitive>& primitives() {
  static const std::map<std::string, Primitive> kPrimitives = {
      {"ws", {R"(| " " | "\n" [ \t]{0,20})", {}}},
      {"gap", {"ws", {"ws"}}},  // behind a comma or a colon
      // Halves of surrogate pairs are left out: alone they are no text.
      {"char",
       {R"([^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cefA-CEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})))",
        {}}},
      // One that counts as one.
      {"letter", {R"([^"\\\x00-\x1F\x7F] | "\\" ["\\/bfnrt])", {}}},
      {"string", {R"("\"" char* "\"")", {"char"}}},
      {"integer", {R"("-"? ("0" | [1-9] [0-9]{0,15}))", {}}},
      {"number", {R"("-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?)", {}}},
      {"boolean", {R"("true" | "false")", {}}},
      {"null", {R"("null")", {}}},
      {"value",
       {"object | array | string | number | boolean | null",
        {"object", "array", "string", "number", "boolean", "null"}}},
      {"object",
       {R"("{" ws (string ws ":" gap value ws ("," gap string ws ":" gap value ws)*)? "}")",
        {"ws", "gap", "string", "value"}}},
      {"array", {R"("[" ws (value ws ("," gap value ws)*)? "]")", {"ws", "gap", "value"}}},
      {"date", {R"([0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]))", {}}},
      {"time",
       {R"(([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})? ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]))",
        {}}},
      {"uuid", {R"([0-9a-fA-F]{8} ("-" [0-9a-fA-F]{4}){3} "-" [0-9a-fA-F]{12})", {}}},
  };
  return kPrimitives;
}

// Keywords that say something no grammar can, unless their value is the one that says nothing.
const std::map<std::string, Schema>& inexpressible() {
  static const std::map<std::string, Schema> kKeywords = {
      {"uniqueItems", false},
      {"contains", nullptr},
      {"not", nullptr},
      {"if", nullptr},
      {"dependentRequired", Schema::object()},
      {"dependentSchemas", Schema::object()},
      {"dependencies", Schema::object()},
      {"patternProperties", Schema::object()},
      {"propertyNames", true},
      {"$dynamicRef", nullptr},
      {"$recursiveRef", nullptr},
      {"extends", nullptr},
      {"disallow", nullptr},
      {"divisibleBy", 1},
  };
  return kKeywords;
}

// White space as JsonSpacing says.
std::string white_space(const std::string& rule, JsonSpacing spacing) {
  if (spacing == JsonSpacing::kFree) return primitives().at(rule).text;
  return rule == "gap" && spacing == JsonSpacing::kSpaced ? "\" \"" : "\"\"";
}

// What of a schema somebody is told about, without all of a name that may be megabytes long.
std::string below(const std::string& place, std::string_view key) {
  constexpr size_t kBytes = 300;
  return place.size() > kBytes ? place : fmt::format("{}/{}", place, shortened(key));
}

// Not as a copy: below it may be all of the schema, and it would be copied at each level.
const Schema& value_or(const Schema& schema, const char* keyword, const Schema& otherwise) {
  const auto found = schema.find(keyword);
  return found == schema.end() ? otherwise : *found;
}
const Schema kAnything(true), kNothing(false);
const Schema kNoList = Schema::array(), kNoObject = Schema::object();

// "%25" and the like stand for characters that a URL cannot hold.
std::string without_percents(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    const bool coded = text[i] == '%' && i + 2 < text.size() &&
                       std::from_chars(&text[i] + 1, &text[i] + 3, code, 16).ptr == &text[i] + 3;
    plain += coded ? static_cast<char>(code) : text[i];
    if (coded) i += 2;
  }
  return plain;
}

// "~1" is a slash within a key, "~0" a tilde.
std::string without_tildes(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool coded = text[i] == '~' && i + 1 < text.size() && (text[i + 1] == '0' || text[i + 1] == '1');
    plain += !coded ? text[i] : text[i + 1] == '1' ? '/' : '~';
    if (coded) ++i;
  }
  return plain;
}

class SchemaReader {
 public:
  // left_out: what no grammar can express is noted there, and otherwise refused.
  SchemaReader(SchemaWork& work, JsonSpacing spacing, std::set<std::string>* left_out)
      : work_(work), spacing_(spacing), left_out_(left_out) {}

  // An expression for what `root` admits. Its references mean places in `root`.
  Result<std::string> read(Schema root) {
    root_ = std::move(root);
    refs_.clear();
    return expression(root_, "#");
  }

  // What the expressions so far refer to.
  Result<std::string> rules() const {
    std::string grammar;
    for (const auto& [name, text] : rules_) grammar += fmt::format("{} ::= {}\n", name, text);
    for (const std::string& name : used_) {
      const bool blank = name == "ws" || name == "gap";
      grammar += fmt::format("{} ::= {}\n", name, blank ? white_space(name, spacing_) : primitives().at(name).text);
    }
    if (grammar.size() > kGrammarBytesMax) return too_large();
    return grammar;
  }

 private:
  static Failure too_large() {
    return error(Code::kInvalidArgument, "the JSON schema makes a grammar that is too large");
  }
  static Failure fail(Code code, const std::string& place, const std::string& what) {
    return error(code, fmt::format("JSON schema, {}: {}", place, what));
  }

  // What the grammar does without: it admits more than the schema then.
  Result<void> leave_out(const std::string& keyword, const std::string& place, const std::string& what) const {
    if (left_out_ == nullptr) return fail(Code::kUnsupported, place, what);
    left_out_->insert(keyword);
    return {};
  }

  std::string use(const std::string& primitive) {
    if (used_.insert(primitive).second)
      for (const std::string& other : primitives().at(primitive).uses) use(other);
    return primitive;
  }

  std::string add_rule(const std::string& text) {
    rule_bytes_ += text.size();
    // The same text is the same rule.
    const auto [found, added] = names_.try_emplace(text, fmt::format("r{}", names_.size()));
    if (added) rules_[found->second] = text;
    return found->second;
  }

  Result<std::string> expression(const Schema& schema, const std::string& place) {
    if (schema == Schema(true)) return use("value");
    if (schema == Schema(false)) return fail(Code::kInvalidArgument, place, "it admits nothing");
    if (!schema.is_object()) return fail(Code::kInvalidArgument, place, "a schema is an object, true or false");
    if (schema.size() > kKeywordsMax) return fail(Code::kUnsupported, place, "a schema of more than 1000 keywords");
    if (depth_ >= kDepthMax) return fail(Code::kInvalidArgument, place, "nested too deeply");
    if (rule_bytes_ > kGrammarBytesMax) return too_large();
    RETURN_IF_ERROR(charge(1));
    ++depth_;
    auto result = object_expression(schema, place);
    --depth_;
    if (!result) return result;
    // A list writes its items twice, and those what is within them: what is long is written once.
    if (result->size() > kInlineBytesMax) return add_rule(*result);
    rule_bytes_ += result->size();
    return result;
  }

  Result<std::string> object_expression(const Schema& schema, const std::string& place) {
    RETURN_IF_ERROR(check_keywords(schema, place));
    if (schema.contains("$ref")) return reference(schema, place);
    if (schema.contains("type")) RETURN_IF_ERROR(check_type(schema["type"], place));
    if (schema.contains("allOf")) return all_of(schema, place);
    for (const char* keyword : {"anyOf", "oneOf"})
      if (schema.contains(keyword)) return any_of(schema, keyword, place);
    if (schema.contains("const")) return one_of_values(schema, Schema::array({schema["const"]}), place);
    if (schema.contains("enum")) return one_of_values(schema, schema["enum"], place);
    if (!schema.contains("type")) return untyped(schema, place);
    if (!schema["type"].is_array()) return typed(schema, schema["type"], place);
    std::vector<std::string> alternatives;
    for (const Schema& type : schema["type"]) {
      if (rule_bytes_ > kGrammarBytesMax) return too_large();
      // What a number may be, an integer is.
      ASSIGN_OR_RETURN(std::string one, typed(schema, type, place));
      alternatives.push_back(std::move(one));
    }
    if (alternatives.empty()) return fail(Code::kInvalidArgument, place, "type lists nothing");
    return gbnf_any_of(alternatives);
  }

  Result<void> check_keywords(const Schema& schema, const std::string& place) const {
    for (const auto& [keyword, nothing] : inexpressible())
      if (schema.contains(keyword) && schema[keyword] != nothing)
        RETURN_IF_ERROR(leave_out(keyword, place, fmt::format("a grammar cannot express {}", keyword)));
    return {};
  }

  // A text, or a list of a few: each value of an enum is held against each.
  static Result<void> check_type(const Schema& type, const std::string& place) {
    if (type.is_array() && type.size() > kTypesMax) return fail(Code::kInvalidArgument, place, "type lists too many");
    for (const Schema& one : type.is_array() ? type : Schema::array({type}))
      if (!one.is_string())
        return fail(Code::kInvalidArgument, place, fmt::format("there is no type {}", shortened(write_json(one))));
    return {};
  }

  // --- $ref, allOf, anyOf, oneOf ---

  Result<std::string> reference(const Schema& schema, const std::string& place) {
    if (!schema["$ref"].is_string()) return fail(Code::kInvalidArgument, place, "$ref is no text");
    const auto pointer = schema["$ref"].get<std::string>();
    ASSIGN_OR_RETURN(const Schema* const target, look_up(pointer, place));
    static const std::set<std::string> kBeside = {"$ref",    "$defs", "definitions", "title",   "description",
                                                  "$schema", "$id",   "default",     "$comment"};
    Schema rest = Schema::object();
    for (const auto& [keyword, value] : schema.items())
      if (kBeside.count(keyword) == 0) rest[keyword] = value;
    if (open_refs_.count(pointer) > 0)
      return fail(Code::kInvalidArgument, place,
                  fmt::format("{} leads to itself and nowhere else", shortened(pointer)));
    if (!rest.empty()) {
      open_refs_.insert(pointer);
      const auto merged = merge(*target, rest, place);
      auto result = merged ? expression(*merged, place) : Failure(merged.error());
      open_refs_.erase(pointer);
      return result;
    }
    // Whether a rule is being read does not matter once something stands before it: the names are enough.
    if (const auto found = refs_.find(pointer); found != refs_.end()) return found->second;
    const std::string name = fmt::format("ref{}", n_refs_++);
    refs_[pointer] = name;
    open_refs_.insert(pointer);
    auto body = expression(*target, below("", pointer));
    open_refs_.erase(pointer);
    if (!body) return body;
    rules_[name] = *body;
    return name;
  }

  Result<const Schema*> look_up(const std::string& pointer, const std::string& place) const {
    if (!pointer.starts_with('#'))
      return fail(Code::kUnsupported, place, fmt::format("$ref {} leads out of the schema", shortened(pointer)));
    const auto nowhere = [&] {
      return fail(Code::kUnsupported, place, fmt::format("$ref {} leads nowhere", shortened(pointer)));
    };
    const Schema* at = &root_;
    const std::string plain = without_percents(pointer.substr(1));
    if (!plain.empty() && plain[0] != '/') return nowhere();
    for (size_t begin = 0; begin < plain.size();) {
      const size_t end = std::min(plain.find('/', begin + 1), plain.size());
      const std::string key = without_tildes(std::string_view(plain).substr(begin + 1, end - begin - 1));
      begin = end;
      RETURN_IF_ERROR(charge(1 + at->size()));  // members are looked through one by one
      if (at->is_object()) {
        const auto found = at->find(key);
        if (found == at->end()) return nowhere();
        at = &*found;
      } else {
        size_t index = 0;
        const auto [rest, failed] = std::from_chars(key.data(), key.data() + key.size(), index);
        if (failed != std::errc() || rest != key.data() + key.size() || !at->is_array() || index >= at->size())
          return nowhere();
        at = &(*at)[index];
      }
    }
    return at;
  }

  Result<void> charge(uint64_t steps) const { return work_.charge(steps); }

  Result<Schema> merge(const Schema& a, const Schema& b, const std::string& place) const {
    RETURN_IF_ERROR(charge(steps_through(a) + steps_through(b)));
    auto merged = merge_schemas(a, b, work_);
    if (!merged) return fail(merged.error().code(), place, merged.error().message());
    return merged;
  }

  // With references in it resolved once, so that their keywords can be merged.
  Result<Schema> resolved(const Schema& schema, const std::string& place) const {
    Schema current = schema;
    for (int step = 0; current.is_object() && current.contains("$ref"); ++step) {
      if (step > kDepthMax) return fail(Code::kInvalidArgument, place, "a $ref that leads to itself");
      if (!current["$ref"].is_string()) return fail(Code::kInvalidArgument, place, "$ref is no text");
      ASSIGN_OR_RETURN(const Schema* const target, look_up(current["$ref"].get<std::string>(), place));
      current.erase("$ref");
      ASSIGN_OR_RETURN(current, merge(*target, current, place));
    }
    return current;
  }

  Result<std::string> all_of(const Schema& schema, const std::string& place) {
    if (!schema["allOf"].is_array()) return fail(Code::kInvalidArgument, place, "allOf is no list");
    RETURN_IF_ERROR(charge(steps_through(schema)));
    Schema merged = schema;
    merged.erase("allOf");
    for (const Schema& part : schema["allOf"]) {
      ASSIGN_OR_RETURN(const Schema known, resolved(part, below(place, "allOf")));
      ASSIGN_OR_RETURN(merged, merge(merged, known, place));
    }
    return expression(merged, place);
  }

  Result<std::string> any_of(const Schema& schema, const std::string& keyword, const std::string& place) {
    if (!schema[keyword].is_array() || schema[keyword].empty())
      return fail(Code::kInvalidArgument, place, keyword + " is no list of schemas");
    RETURN_IF_ERROR(charge(steps_through(schema)));
    Schema rest = Schema::object();
    for (const auto& [other, value] : schema.items())
      if (other != keyword) rest[other] = value;
    std::vector<std::string> alternatives;
    std::optional<Status> impossible;
    size_t number = 0;
    const bool beside = says_something(rest);
    for (const Schema& part : schema[keyword]) {
      const std::string inside = below(place, fmt::format("{}/{}", keyword, number++));
      Schema merged;
      if (beside) {
        ASSIGN_OR_RETURN(const Schema known, resolved(part, inside));
        RETURN_IF_ERROR(charge(steps_through(rest) + steps_through(known)));
        auto both = merge_schemas(rest, known, work_);
        RETURN_IF_ERROR(charge(0));
        if (!both && both.error().code() != Code::kInvalidArgument)
          return fail(both.error().code(), inside, both.error().message());
        if (!both) {
          impossible = both.error();
          continue;
        }
        merged = std::move(*both);
      }
      const Schema& alternative = beside ? merged : part;
      auto one = expression(alternative, inside);
      if (!one && one.error().code() == Code::kInvalidArgument && alternative == kNothing) continue;
      if (!one) return one;
      alternatives.push_back(std::move(*one));
    }
    if (alternatives.empty()) return fail(Code::kInvalidArgument, place, "none of its alternatives is possible");
    return gbnf_any_of(alternatives);
  }

  static bool says_something(const Schema& schema) {
    static const std::set<std::string> kSilent = {"title",    "description", "default",      "examples",
                                                  "$schema",  "$id",         "$defs",        "definitions",
                                                  "$comment", "deprecated",  "discriminator"};
    for (const auto& [keyword, value] : schema.items())
      if (kSilent.count(keyword) == 0) return true;
    return false;
  }

  // --- Values and types ---

  static bool has_type(const Schema& value, const Schema& type) {
    if (type.is_array())
      return std::any_of(type.begin(), type.end(), [&](const Schema& t) { return has_type(value, t); });
    if (type == "integer")
      return value.is_number_integer() ||
             (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
    if (type == "number") return value.is_number();
    return type == value.type_name();
  }

  Result<std::string> one_of_values(const Schema& schema, const Schema& values, const std::string& place) {
    if (!values.is_array()) return fail(Code::kInvalidArgument, place, "enum is no list");
    const size_t n_types = schema.contains("type") && schema["type"].is_array() ? schema["type"].size() : 1;
    RETURN_IF_ERROR(charge(steps_through(values) + values.size() * n_types));
    std::vector<std::string> alternatives;
    for (const Schema& value : values)
      if (!schema.contains("type") || has_type(value, schema["type"]))
        alternatives.push_back(gbnf_literal(write_json(value)));
    if (alternatives.empty()) return fail(Code::kInvalidArgument, place, "none of its values is possible");
    return gbnf_any_of(alternatives);
  }

  // Which type do the keywords speak of? They would admit any value of another type; a model is not asked for that.
  Result<std::string> untyped(const Schema& schema, const std::string& place) {
    using List = std::vector<const char*>;
    static const std::vector<std::pair<const char*, List>> kKeywords = {
        {"object",
         {"properties", "required", "additionalProperties", "minProperties", "maxProperties", "unevaluatedProperties"}},
        {"array", {"items", "prefixItems", "minItems", "maxItems", "additionalItems", "unevaluatedItems"}},
        {"string", {"minLength", "maxLength", "pattern", "format"}},
        {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}}};
    for (const auto& [type, keywords] : kKeywords)
      if (std::any_of(keywords.begin(), keywords.end(), [&](const char* keyword) { return schema.contains(keyword); }))
        return typed(schema, type, place);
    return use("value");
  }

  Result<std::string> typed(const Schema& schema, const Schema& type, const std::string& place) {
    if (type == "object") return object(schema, place);
    if (type == "array") return array(schema, place);
    if (type == "string") return string(schema, place);
    if (type == "integer" || type == "number") return number(schema, type == "integer", place);
    if (type == "boolean" || type == "null") return use(type.get<std::string>());
    if (type == "any") return use("value");
    return fail(Code::kInvalidArgument, place, fmt::format("there is no type {}", type.dump()));
  }

  // A count from 0; nullopt: absent.
  static Result<std::optional<uint64_t>> count(const Schema& schema, const char* keyword, const std::string& place) {
    if (!schema.contains(keyword)) return std::optional<uint64_t>();
    const Schema& value = schema[keyword];
    if (!value.is_number() || value.get<double>() < 0 || value.get<double>() != std::floor(value.get<double>()))
      return fail(Code::kInvalidArgument, place, fmt::format("{} is no count", keyword));
    if (value.get<double>() > 1e15) return std::optional<uint64_t>(1'000'000'000'000'000u);
    return std::optional<uint64_t>(static_cast<uint64_t>(value.get<double>()));
  }

  // Counts that llama.cpp takes: what may be more may be less.
  Result<std::pair<uint64_t, std::optional<uint64_t>>> counts(const Schema& schema, const char* min_keyword,
                                                              const char* max_keyword, const std::string& place) const {
    ASSIGN_OR_RETURN(const auto min, count(schema, min_keyword, place));
    ASSIGN_OR_RETURN(auto max, count(schema, max_keyword, place));
    if (max && *max < min.value_or(0))
      return fail(Code::kInvalidArgument, place, fmt::format("{} is below {}", max_keyword, min_keyword));
    if (min.value_or(0) > kGbnfRepeatMax)
      return fail(Code::kUnsupported, place, fmt::format("{} above {}", min_keyword, kGbnfRepeatMax));
    if (max) max = std::min(*max, kGbnfRepeatMax);
    return std::pair(min.value_or(0), max);
  }

  Result<std::string> string(const Schema& schema, const std::string& place) {
    ASSIGN_OR_RETURN(const auto length, counts(schema, "minLength", "maxLength", place));
    const bool counted = length.first > 0 || length.second;
    const bool has_format = has_known_format(schema);
    // An annotation, says JSON Schema: no reason to refuse, but nothing that is held either.
    if (!has_format && schema.contains("format") && left_out_ != nullptr) left_out_->insert("format");
    if (schema.contains("pattern")) {
      ASSIGN_OR_RETURN(const auto inside, pattern(schema["pattern"], has_format, place));
      if (inside && counted)
        RETURN_IF_ERROR(leave_out(length.first > 0 ? "minLength" : "maxLength", place,
                                  "a grammar cannot express pattern and a length at once"));
      if (inside) return fmt::format(R"("\"" {} "\"")", add_rule(*inside));
    }
    if (counted && !(left_out_ != nullptr && has_format))
      return fmt::format(R"("\"" {} "\"")", gbnf_repeat(use("letter"), length.first, length.second));
    const Schema format = schema.value("format", Schema());
    if (format == "date-time") return fmt::format(R"("\"" {} "T" {} "\"")", use("date"), use("time"));
    for (const char* known : {"date", "time", "uuid"})
      if (format == known) return fmt::format(R"("\"" {} "\"")", use(known));
    return use("string");
  }

  static bool has_known_format(const Schema& schema) {
    const Schema format = schema.value("format", Schema());
    return format == "date-time" || format == "date" || format == "time" || format == "uuid";
  }

  // Its grammar; none where it is left out. A format that is known stands for a pattern that is not.
  Result<std::optional<std::string>> pattern(const Schema& text, bool has_format, const std::string& place) const {
    if (!text.is_string()) return fail(Code::kInvalidArgument, place, "pattern is no text");
    const auto& written = text.get_ref<const std::string&>();
    if (written.size() > kPatternBytesMax)
      return fail(Code::kInvalidArgument, place, fmt::format("a pattern of more than {} KiB", kPatternBytesMax >> 10));
    RETURN_IF_ERROR(charge(4 * written.size()));  // a character becomes twenty to sixty, in each group around it
    auto inside = grammar_of_regex(written);
    if (inside) return std::optional<std::string>(std::move(*inside));
    // What nobody writes by hand is refused, not left to the client.
    constexpr size_t kLeftOutBytesMax = 1000;
    const bool is_short = written.size() <= kLeftOutBytesMax;
    if (inside.error().code() != Code::kUnsupported || !is_short)
      return fail(inside.error().code(), place, inside.error().message());
    if (!(has_format && left_out_ != nullptr)) RETURN_IF_ERROR(leave_out("pattern", place, inside.error().message()));
    return std::optional<std::string>();
  }

  Result<std::string> number(const Schema& schema, bool whole, const std::string& place) {
    if (schema.contains("multipleOf")) {
      const Schema& step = schema["multipleOf"];
      if (step != 1) RETURN_IF_ERROR(leave_out("multipleOf", place, "a grammar cannot express multipleOf"));
      const double size = step.is_number() ? step.get<double>() : 0.5;
      whole = whole || size == std::floor(size);
    }
    NumberBounds bounds;
    RETURN_IF_ERROR(read_bound(schema, "minimum", "exclusiveMinimum", whole, bounds.min, bounds.exclusive_min, place));
    RETURN_IF_ERROR(read_bound(schema, "maximum", "exclusiveMaximum", whole, bounds.max, bounds.exclusive_max, place));
    if (!bounds.min && !bounds.max) return use(whole ? "integer" : "number");
    if (whole && bounds.exclusive_min && bounds.min) ++*bounds.min;
    if (whole && bounds.exclusive_max && bounds.max) --*bounds.max;
    const std::string text = whole ? gbnf_integers(bounds.min, bounds.max) : gbnf_numbers(bounds);
    if (text.empty()) return fail(Code::kInvalidArgument, place, "no number is within its bounds");
    return add_rule(text);
  }

  Result<void> read_bound(const Schema& schema, const std::string& keyword, const std::string& exclusive_keyword,
                          bool whole, std::optional<int64_t>& bound, bool& exclusive, const std::string& place) const {
    const bool lower = keyword == "minimum";
    const auto read = [&](const Schema& value, bool excludes) -> Result<void> {
      if (!value.is_number()) return fail(Code::kInvalidArgument, place, keyword + " is no number");
      double at = value.get<double>();
      if (std::abs(at) > 1e15) {
        // Beyond what is written anyway, or nothing is left.
        if ((at < 0) == lower) return {};
        return leave_out(keyword, place, keyword + " is too large");
      }
      if (at != std::floor(at)) {
        if (!whole)
          RETURN_IF_ERROR(
              leave_out(keyword, place, fmt::format("a grammar cannot express a {} that is a fraction", keyword)));
        // Whole numbers end within it; of others the next whole number outside is the bound.
        at = lower == whole ? std::ceil(at) : std::floor(at);
        excludes = false;
      }
      const auto edge = static_cast<int64_t>(at);
      const bool tighter = !bound || (lower ? edge > *bound : edge < *bound) || (edge == *bound && excludes);
      if (tighter) {
        bound = edge;
        exclusive = excludes;
      }
      return {};
    };
    // Draft 4 has a switch where later drafts have a number.
    const Schema other = schema.value(exclusive_keyword, Schema());
    if (schema.contains(keyword)) RETURN_IF_ERROR(read(schema[keyword], other == Schema(true)));
    if (!other.is_null() && !other.is_boolean()) RETURN_IF_ERROR(read(other, true));
    return {};
  }

  // --- Arrays ---

  Result<std::string> array(const Schema& schema, const std::string& place) {
    ASSIGN_OR_RETURN(const auto length, counts(schema, "minItems", "maxItems", place));
    const auto open = close_refs();
    const bool old_style = schema.contains("items") && schema["items"].is_array();
    const Schema& first = value_or(schema, old_style ? "items" : "prefixItems", kNoList);
    const Schema& rest = value_or(schema, old_style ? "additionalItems" : "items", kAnything);
    if (!first.is_array()) return fail(Code::kInvalidArgument, place, "prefixItems is no list");
    auto result = first.empty() ? list_of(rest, length, place) : tuple_of(first, rest, length, place);
    open_refs_ = open;
    return result;
  }

  Result<std::string> list_of(const Schema& items, std::pair<uint64_t, std::optional<uint64_t>> length,
                              const std::string& place) {
    const auto& [min, max] = length;
    use("gap");
    if (items == Schema(false) || max == 0) {
      if (min > 0) return fail(Code::kInvalidArgument, place, "it must have items and may have none");
      return std::string(R"("[" ws "]")");
    }
    ASSIGN_OR_RETURN(const std::string item, expression(items, below(place, "items")));
    const std::string more =
        gbnf_repeat("\",\" gap " + item + " ws", saturating_sub(min, 1), max ? std::optional(*max - 1) : std::nullopt);
    const std::string some = fmt::format("{} ws {}", item, more);
    return fmt::format(R"("[" ws {} "]")", min > 0 ? some : "(" + some + ")?");
  }

  Result<std::string> tuple_of(const Schema& first, const Schema& rest,
                               std::pair<uint64_t, std::optional<uint64_t>> length, const std::string& place) {
    const auto& [min, max] = length;
    use("gap");
    std::vector<std::string> items;
    for (size_t i = 0; i < first.size() && (!max || i < *max); ++i) {
      if (first[i] == Schema(false)) break;
      ASSIGN_OR_RETURN(std::string item, expression(first[i], below(place, fmt::format("prefixItems/{}", i))));
      items.push_back(std::move(item));
    }
    // Further items where they are asked for: a model is not tempted to go on.
    const bool all_first = items.size() == first.size();
    const bool more = all_first && rest != Schema(false) &&
                      (min > items.size() || (rest != Schema(true) && !(max && *max <= items.size())));
    if (!more && min > items.size())
      return fail(Code::kInvalidArgument, place, "it must have more items than it may have");
    std::string tail;
    if (more) {
      ASSIGN_OR_RETURN(const std::string item, expression(rest, below(place, "items")));
      tail = gbnf_repeat("\",\" gap " + item + " ws", saturating_sub(min, items.size()),
                         max ? std::optional(*max - items.size()) : std::nullopt);
    }
    std::string some, ends;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i >= min) some += '(', ends += ")?";
      if (i > 0) some += "\",\" gap ";
      some += items[i] + " ws ";
    }
    return fmt::format(R"("[" ws {}{}{} "]")", some, tail, ends);
  }

  // --- Objects ---

  struct Property {
    std::string pair;  // "key": value
    bool required;
  };

  Result<std::string> object(const Schema& schema, const std::string& place) {
    const auto open = close_refs();
    auto result = object_of(schema, place);
    open_refs_ = open;
    return result;
  }

  Result<std::string> object_of(const Schema& schema, const std::string& place) {
    const Schema& properties = value_or(schema, "properties", kNoObject);
    const Schema& required = value_or(schema, "required", kNoList);
    if (!properties.is_object()) return fail(Code::kInvalidArgument, place, "properties is no object");
    if (!required.is_array()) return fail(Code::kInvalidArgument, place, "required is no list");
    std::unordered_set<std::string> must;
    for (const Schema& name : required) {
      if (!name.is_string()) return fail(Code::kInvalidArgument, place, "required lists something that is no text");
      must.insert(name.get<std::string>());
    }
    const auto is_required = [&](const std::string& name) { return must.count(name) > 0; };
    const Schema& others = additional(schema, properties.empty());
    std::vector<Property> pairs;
    std::vector<std::string> names;
    uint64_t n_required = 0;
    const auto add = [&](const std::string& name, const Schema& value, const std::string& at) -> Result<void> {
      ASSIGN_OR_RETURN(const std::string inside, expression(value, at));
      const std::string key = write_json(Schema(name));
      pairs.push_back({fmt::format("{} ws \":\" gap {} ws", gbnf_literal(key), add_rule(inside)), is_required(name)});
      n_required += is_required(name) ? 1 : 0;
      return {};
    };
    for (const auto& [name, value] : properties.items()) {
      names.push_back(name);
      if (value == Schema(false) && !is_required(name)) continue;  // may not be there
      RETURN_IF_ERROR(add(name, value, below(place, "properties/" + shortened(name))));
    }
    // Required, and not described.
    std::unordered_set<std::string> described(names.begin(), names.end());
    const Schema& undescribed = value_or(schema, "additionalProperties", kAnything);
    for (const Schema& name : required) {
      if (!described.insert(name.get<std::string>()).second) continue;
      names.push_back(name.get<std::string>());
      RETURN_IF_ERROR(add(names.back(), undescribed, below(place, "required")));
    }
    RETURN_IF_ERROR(check_property_counts(schema, n_required, pairs.size(), others, place));
    use("gap");
    std::string more;
    if (others != Schema(false)) {
      ASSIGN_OR_RETURN(const std::string value, expression(others, below(place, "additionalProperties")));
      size_t bytes = 0;
      for (const std::string& name : names) bytes += name.size();
      if (bytes > kOtherNamesBytesMax) return too_large();
      const std::string key =
          names.empty() ? use("string") : fmt::format(R"("\"" {} "\"")", add_rule(gbnf_other_names(names)));
      more = fmt::format("{} ws \":\" gap {} ws", key, value);
    }
    return fmt::format(R"("{{" ws {} "}}")", members(pairs, more));
  }

  // What may stand beside the properties. Where the schema does not say, nothing, unless it lists no properties at all.
  static const Schema& additional(const Schema& schema, bool lists_none) {
    for (const char* keyword : {"additionalProperties", "unevaluatedProperties"})
      if (schema.contains(keyword)) return schema[keyword];
    return lists_none ? kAnything : kNothing;
  }

  Result<void> check_property_counts(const Schema& schema, uint64_t n_required, uint64_t n_listed, const Schema& others,
                                     const std::string& place) const {
    ASSIGN_OR_RETURN(const auto min, count(schema, "minProperties", place));
    ASSIGN_OR_RETURN(const auto max, count(schema, "maxProperties", place));
    if (min && *min > n_required)
      RETURN_IF_ERROR(leave_out("minProperties", place, "a grammar cannot express minProperties"));
    if (max && (others != Schema(false) || *max < n_listed))
      RETURN_IF_ERROR(leave_out("maxProperties", place, "a grammar cannot express maxProperties"));
    return {};
  }

  // The members in order, with commas between those that are there. tails[i]: what may follow, from i on, when a member
  // came before; a rule each, so that the grammar grows with the number of properties and not with its square.
  std::string members(const std::vector<Property>& pairs, const std::string& more) {
    std::string tail = more.empty() ? "" : gbnf_repeat("\",\" gap " + more, 0, std::nullopt);
    std::vector<std::string> tails(pairs.size() + 1);
    tails[pairs.size()] = tail.empty() ? "" : add_rule(tail);
    for (size_t i = pairs.size(); i-- > 0;) {
      const std::string next = "\",\" gap " + pairs[i].pair;
      tails[i] = add_rule((pairs[i].required ? next : "(" + next + ")?") + " " + tails[i + 1]);
    }
    std::vector<std::string> alternatives;
    for (size_t i = 0; i < pairs.size(); ++i) {
      alternatives.push_back(pairs[i].pair + " " + tails[i + 1]);
      if (pairs[i].required) return gbnf_any_of(alternatives);
    }
    if (!more.empty()) alternatives.push_back(more + " " + tails[pairs.size()]);
    alternatives.emplace_back("\"\"");
    return gbnf_any_of(alternatives);
  }

  // Something is written before what follows, so a reference to what is being read is no endless one.
  std::set<std::string> close_refs() { return std::exchange(open_refs_, {}); }

  SchemaWork& work_;
  const JsonSpacing spacing_;
  std::set<std::string>* const left_out_;
  Schema root_;
  std::map<std::string, std::string> rules_;
  std::map<std::string, std::string> names_;  // of rules by their text
  std::map<std::string, std::string> refs_;   // of root_: names of rules by the pointer they came from
  size_t n_refs_ = 0;
  std::set<std::string> open_refs_;
  std::set<std::string> used_;
  size_t rule_bytes_ = 0;
  int depth_ = 0;
};

Result<Schema> parse_schema(std::string_view text) {
  if (text.size() > kSchemaBytesMax)
    return error(Code::kInvalidArgument, fmt::format("the JSON schema is larger than {} MiB", kSchemaBytesMax >> 20));
  // Values nest no deeper than schemas may, or copying one could take the stack.
  auto schema = read_json(text, {.depth_max = size_t{4} * kDepthMax});
  if (!schema) return Failure(schema.error().with_context("the JSON schema"));
  return schema;
}

}  // namespace

Result<void> SchemaWork::charge(uint64_t steps) {
  left -= std::min(left, steps);
  if (left > 0) return {};
  return error(Code::kInvalidArgument, "the JSON schema is too large, or its parts are combined too often");
}

Result<SchemaRules> rules_of_schemas(std::span<const std::string> schemas, JsonSpacing spacing) {
  SchemaWork work;
  return rules_of_schemas(schemas, spacing, &work);
}

Result<SchemaRules> rules_of_schemas(std::span<const std::string> schemas, JsonSpacing spacing, SchemaWork* work,
                                     std::set<std::string>* left_out) {
  SchemaReader reader(*work, spacing, left_out);
  SchemaRules rules;
  for (const std::string& text : schemas) {
    ASSIGN_OR_RETURN(Schema schema, parse_schema(text));
    ASSIGN_OR_RETURN(std::string expression, reader.read(std::move(schema)));
    rules.expressions.push_back(std::move(expression));
  }
  ASSIGN_OR_RETURN(rules.text, reader.rules());
  return rules;
}

Result<std::string> grammar_of_schema(std::string_view schema) {
  SchemaWork work;
  return grammar_of_schema(schema, &work);
}

Result<std::string> grammar_of_schema(std::string_view schema, SchemaWork* work, std::set<std::string>* left_out) {
  const std::string one(schema);
  ASSIGN_OR_RETURN(const SchemaRules rules, rules_of_schemas({&one, 1}, JsonSpacing::kFree, work, left_out));
  return fmt::format("root ::= {}\n{}", rules.expressions.front(), rules.text);
}

}  // namespace spillway
