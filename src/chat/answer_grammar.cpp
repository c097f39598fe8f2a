// SPDX-License-Identifier: MIT
// Answers of calls follow the call syntax, placeholder by placeholder; Harmony's have rules of their own.
#include "chat/answer_grammar.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "chat/argument_schema.h"
#include "chat/gbnf.h"
#include "chat/grammar.h"
#include "chat/json_text.h"
#include "chat/mark_text.h"
#include "chat/pattern_reader.h"
#include "chat/value_grammar.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// A model that does not know when to stop calls no more often than this in one answer.
constexpr int kCallsMax = 16;
constexpr const char* kAnyObject = R"({"type":"object"})";

// The schema if a grammar can be made of it, or of most of it, and it speaks of objects; else that of any object.
std::string arguments_schema(const Tool& tool, SchemaWork& work) {
  Json schema = nests_deeper(tool.parameters) ? Json() : json_or_null(tool.parameters);
  if (!schema.is_object() || schema.empty()) return kAnyObject;
  if (!schema.contains("type")) schema["type"] = "object";
  std::string text = write_json(schema);
  std::set<std::string> left_out;
  return schema["type"] == "object" && grammar_of_schema(text, &work, &left_out) ? text : kAnyObject;
}

SchemaRules json_arguments(std::span<const Tool> tools, bool spaced) {
  SchemaWork work;  // of all of them together
  std::vector<std::string> schemas;
  for (const Tool& tool : tools) schemas.push_back(arguments_schema(tool, work));
  return rules_or(std::move(schemas), kAnyObject, spaced ? JsonSpacing::kSpaced : JsonSpacing::kTight);
}

// ---- by the call syntax ----

class SyntaxCalls {
 public:
  // Tools and what a template writes around each of their arguments are as many and as long as somebody likes; too much
  // of it is not written to its end.
  SyntaxCalls(const CallSyntax& syntax, std::span<const Tool> tools) : syntax_(syntax) {
    if (syntax.arguments.is_json) {
      SchemaRules json = json_arguments(tools, syntax.arguments.spaced);
      rules_ = std::move(json.text);
      for (std::string& expression : json.expressions) arguments_.push_back("(" + expression + ")");
    } else {
      add_marked(tools);
    }
    std::vector<std::string> calls;
    for (size_t i = 0; i < arguments_.size() && has_room(calls.empty() ? 0 : calls.back().size()); ++i)
      calls.push_back(expression(syntax.call_begin + syntax.call + syntax.call_end, tools[i].name, arguments_[i]));
    rules_ += fmt::format("call ::= {}\n", fmt::join(calls, " | "));
  }

  bool is_too_large() const { return bytes_ > kGbnfBytesMax; }

  std::string grammar(bool several) const {
    const std::string more = several && syntax_.between
                                 ? fmt::format(" ({} call){{0,{}}}", gbnf_literal(*syntax_.between), kCallsMax - 1)
                                 : "";
    return fmt::format("root ::= {} call{} {}\n{}", begin(), more, gbnf_literal(syntax_.end), rules_);
  }

 private:
  // false: with so many more bytes there is none.
  bool has_room(size_t bytes) {
    bytes_ += bytes;
    return !is_too_large();
  }

  // The new lines in front of the first mark depend on what the prompt ends with.
  std::string begin() const {
    const size_t breaks = std::min(syntax_.begin.find_first_not_of('\n'), syntax_.begin.size());
    return (breaks > 0 ? "\"\\n\"{0,2} " : "") + gbnf_literal(syntax_.begin.substr(breaks));
  }

  std::string expression(const Pattern& pattern, const std::string& name, const std::string& arguments) const {
    std::string out, literal;
    const auto flush = [&] {
      if (!literal.empty()) out += gbnf_literal(std::exchange(literal, {})) + " ";
    };
    for (const char c : pattern) {
      switch (c) {
        case placeholder::kName: {
          const std::string quoted = json_string(name);
          literal += syntax_.call_is_json ? quoted.substr(1, quoted.size() - 2) : name;
          break;
        }
        case placeholder::kArguments:
          flush();
          out += arguments + " ";
          break;
        case placeholder::kId:
          flush();
          out += "[a-zA-Z0-9]{9} ";  // the form that the strictest templates want
          break;
        case placeholder::kIndex:
          flush();
          out += "[0-9]{1,2} ";
          break;
        default:
          literal += c;
      }
    }
    flush();
    return out;
  }

  // ---- arguments that are marked one by one ----

  void add_marked(std::span<const Tool> tools) {
    ArgumentSchemas schemas;
    ValueGrammar values(syntax_.arguments, raw_ends());
    for (const Tool& tool : tools)
      for (const ArgumentProperty& property : schemas.of(tool).properties()) values.add(schemas.of(tool), property);
    values.finish();
    size_t n = 0;
    for (const Tool& tool : tools)
      if (has_room(0)) arguments_.push_back(marked_arguments(schemas.of(tool), values, n));
    if (values.is_too_large()) has_room(kGbnfBytesMax + 1);
    rules_ = values.rules();
  }

  // What a text without quotes cannot hold: what ends it.
  std::vector<Pattern> raw_ends() const {
    const ArgumentSyntax& arguments = syntax_.arguments;
    const ValueSyntax& values = arguments.values;
    if (values.text != ValueSyntax::Text::kRaw || values.quotes_text()) return {};
    if (Pattern mark = trimmed(values.text_close + arguments.items.value_end); !mark.empty()) return {mark};
    // A line, or whatever stands between two of them.
    std::vector<Pattern> marks;
    for (const Pattern& pattern : {arguments.items.between, arguments.items.end, syntax_.call_end, syntax_.end})
      if (!pattern.empty()) marks.push_back(pattern.substr(0, 1));
    if (marks.empty()) marks.emplace_back("\n");
    return marks;
  }

  std::string marked_arguments(const ArgumentSchema& schema, ValueGrammar& values, size_t& n) {
    const MarkedItems& items = syntax_.arguments.items;
    std::vector<GbnfMember> members;
    for (const ArgumentProperty& property : schema.properties()) {
      std::string expression = fmt::format(
          "{} {} {}", gbnf_literal(with_placeholder(items.key, placeholder::kKey, property.name)),
          values.expression(n++), gbnf_literal(with_placeholder(items.value_end, placeholder::kKey, property.name)));
      if (!has_room(expression.size() + items.between.size())) break;
      members.push_back({std::move(expression), property.required});
    }
    return gbnf_members(members, gbnf_literal(items.begin), gbnf_literal(items.between), gbnf_literal(items.end),
                        gbnf_literal(items.empty), [&](const std::string& body) { return values.rule(body); });
  }

  const CallSyntax& syntax_;
  std::vector<std::string> arguments_;  // of each tool
  std::string rules_;
  size_t bytes_ = 0;  // of calls and arguments, at least
};

// ---- Harmony ----

std::string harmony_thought() {
  return "thought ::= \"<|channel|>analysis<|message|>\" musing \"<|end|><|start|>assistant\"\n" +
         gbnf_text_without({"<|"}, "musing");
}

// The two headers say the same: gpt-oss writes the first and is shown the second.
std::string harmony_calls(std::span<const Tool> tools) {
  const SchemaRules json = json_arguments(tools, true);
  std::vector<std::string> calls;
  for (size_t i = 0; i < tools.size(); ++i)
    calls.push_back(fmt::format(
        R"(("<|channel|>commentary to=functions." {0} | " to=functions." {0} "<|channel|>commentary") (" "? "<|constrain|>json" | " json")? "<|message|>" ({1}))",
        gbnf_literal(tools[i].name), json.expressions[i]));
  return fmt::format("root ::= thought? call\ncall ::= {}\n{}{}", fmt::join(calls, " | "), harmony_thought(),
                     json.text);
}

}  // namespace

Result<std::string> grammar_of_calls(const OutputFormat& format, std::span<const Tool> tools, bool several) {
  if (tools.empty()) return error(Code::kNotFound, "there are no tools");
  if (format.harmony) return harmony_calls(tools);
  if (!format.calls) return error(Code::kNotFound, "this model's calls have no marks");
  const SyntaxCalls calls(*format.calls, tools);
  if (calls.is_too_large()) return error(Code::kInvalidArgument, "the tools make a grammar that is too large");
  return calls.grammar(several);
}

Result<std::string> grammar_of_json_answer(const OutputFormat& format, const std::string& schema,
                                           std::set<std::string>* left_out) {
  SchemaWork work;
  if (!format.harmony && format.text_begin.empty()) return grammar_of_schema(schema, &work, left_out);
  ASSIGN_OR_RETURN(const SchemaRules rules, rules_of_schemas({&schema, 1}, JsonSpacing::kFree, &work, left_out));
  if (!format.harmony)
    return fmt::format("root ::= {} ({})\n{}", gbnf_literal(format.text_begin), rules.expressions.front(), rules.text);
  return fmt::format(
      "root ::= thought? \"<|channel|>final\" (\" \"? \"<|constrain|>json\")? \"<|message|>\" ({})\n{}{}",
      rules.expressions.front(), harmony_thought(), rules.text);
}

}  // namespace spillway
