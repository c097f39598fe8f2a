// SPDX-License-Identifier: MIT
// Grammars for single values of a call's arguments, in the notation of its format. Bounds, patterns and lengths are
// held where values are JSON; elsewhere types, listed values, members and elements are. Pure.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "chat/argument_schema.h"
#include "chat/call_syntax.h"
#include "chat/gbnf.h"
#include "chat/grammar.h"

namespace spillway {

// Collects the values first, since all that is JSON shares its rules; then tells what each is.
class ValueGrammar {
 public:
  // `raw_ends`: what text without quotes cannot hold; not empty where there is such text. May name the text's key.
  ValueGrammar(const ArgumentSyntax& arguments, std::vector<Pattern> raw_ends);

  // Values that `property`, of `tool`, admits; the number is for expression(). Both must outlive it.
  size_t add(const ArgumentSchema& tool, const ArgumentProperty& property);

  // After the last add(): the value with the marks around it.
  void finish();
  const std::string& expression(size_t number) const { return expressions_[number]; }

  // A rule of this text, by name. The same text is the same rule.
  std::string rule(const std::string& text);
  // What the expressions refer to; a rule in each line.
  std::string rules() const;
  // There are more of those than a grammar may have: the last ones are missing.
  bool is_too_large() const { return fixed_rules_.size() + rule_bytes_ > kGbnfBytesMax; }

 private:
  using Json = nlohmann::ordered_json;

  std::string of_property(const ArgumentProperty& property, const std::string& as_json);
  std::string text(const ValueSyntax& syntax, const std::vector<std::string>& only);
  std::string raw_text();
  bool charge(uint64_t steps);
  std::string nested(const Json& schema, const Json& root, int depth);
  std::string nested_expression(const Json& schema, const Json& root, int depth);
  std::string nested_of_type(const Json& schema, const Json& type, const Json& root, int depth);
  std::string nested_object(const Json& schema, const Json& root, int depth);
  std::string nested_list(const Json& schema, const Json& root, int depth);
  std::string any_value();

  const ValueSyntax syntax_;
  const ValueSyntax nested_;  // the same, but for python, whose objects and lists are told as marked ones
  const bool spaced_;
  const std::vector<Pattern> raw_ends_;
  std::vector<std::string> ends_;  // the same for the value that is being made
  std::vector<const ArgumentProperty*> properties_;
  std::vector<std::string> schemas_, expressions_;
  std::string fixed_rules_;
  std::vector<std::pair<std::string, std::string>> rules_;  // text, name
  std::unordered_map<std::string, std::string> rule_names_;
  size_t rule_bytes_ = 0;                                   // of rules_
  std::unordered_map<std::string, std::string> raw_names_;  // of the rules for raw text, by what they exclude
  bool has_any_ = false;
  SchemaWork work_;  // of all properties together
  size_t schema_bytes_ = 0;
  uint64_t n_parts_ = 0;  // of schemas, looked at so far
};

// Members one after the other, `begin` in front of them, `between` between any two, `end` behind them; those that are
// not required may be left out, and `none` stands where all are. All are expressions; `rule` makes a name of one.
struct GbnfMember {
  std::string expression;
  bool required = false;
};
std::string gbnf_members(const std::vector<GbnfMember>& members, const std::string& begin, const std::string& between,
                         const std::string& end, const std::string& none,
                         const std::function<std::string(const std::string&)>& rule);

// The rules of as many schemas, without what no grammar can express; of `otherwise` for all where they are too large
// together.
SchemaRules rules_or(std::vector<std::string> schemas, const char* otherwise, JsonSpacing spacing);

// `value` as the notation writes it, with the marks of text.
std::string value_text(const nlohmann::ordered_json& value, const ValueSyntax& syntax);

}  // namespace spillway
