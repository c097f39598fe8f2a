// SPDX-License-Identifier: MIT
// Each format is a root over two rules: "call", one of the calls, and "gap", blanks in JSON.
#include "chat/answer_grammar.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "chat/gbnf.h"
#include "chat/grammar.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kAnyObject = R"({"type":"object"})";
constexpr const char* kAnyValue = "{}";

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// The rules of as many schemas; of `otherwise` for all where they are too large together.
SchemaRules rules_or(std::vector<std::string> schemas, const char* otherwise) {
  auto rules = rules_of_schemas(schemas);
  if (rules) return std::move(*rules);
  schemas.assign(schemas.size(), otherwise);
  return *rules_of_schemas(schemas);
}

// A rule "NAME ::= " with an alternative for each tool.
template <typename OfTool>
std::string rule_of_tools(const char* name, std::span<const Tool> tools, const OfTool& of_tool) {
  std::vector<std::string> alternatives;
  for (size_t i = 0; i < tools.size(); ++i) alternatives.push_back(of_tool(i));
  return fmt::format("{} ::= {}\n", name, fmt::join(alternatives, " | "));
}

// ---- formats whose arguments are JSON ----

// The schema if a grammar can be made of it and it speaks of objects, else that of any object.
std::string arguments_schema(const Tool& tool) {
  Json schema = Json::parse(tool.parameters, nullptr, false);
  if (!schema.is_object() || schema.empty()) return kAnyObject;
  if (!schema.contains("type")) schema["type"] = "object";
  std::string text = text_of(schema);
  return schema["type"] == "object" && grammar_of_schema(text) ? text : kAnyObject;
}

class JsonCalls {
 public:
  JsonCalls(std::span<const Tool> tools, bool several) : tools_(tools), several_(several) {
    std::vector<std::string> schemas;
    for (const Tool& tool : tools) schemas.push_back(arguments_schema(tool));
    arguments_ = rules_or(std::move(schemas), kAnyObject);
  }

  std::string plain() const {
    const std::string list = fmt::format(R"("[" gap {} gap "]")", joined(R"(gap "," gap)"));
    return grammar(several_ ? "call | " + list : "call", object_call("arguments"));
  }
  std::string llama3() const { return grammar("\"<|python_tag|>\"? " + joined(R"("; ")"), object_call("parameters")); }
  std::string hermes() const {
    const std::string call = R"(call ::= "<tool_call>" gap named gap "</tool_call>")";
    return grammar("breaks " + joined("breaks"), call + "\n" + kBreaks + object_call("arguments", "named"));
  }
  // The older form and the newer one: a model writes the one that it learnt.
  std::string mistral() const {
    const std::string older =
        R"("[TOOL_CALLS]" " "? "[" named)" + std::string(several_ ? R"( (gap "," gap named)*)" : "");
    return grammar(fmt::format(R"("[TOOL_CALLS]" {} | {} gap "]")", joined(R"("[TOOL_CALLS]")"), older),
                   rule_of_tools("call", tools_, [&](size_t i) {
                     return fmt::format(R"({} ("[CALL_ID]" [a-zA-Z0-9]{{9}})? "[ARGS]" {})", name(i), arguments(i));
                   }) + object_call("arguments", "named"));
  }
  std::string deepseek_r1() const {
    return deepseek(R"("\n")", [&](size_t i) {
      return fmt::format(
          "\"<｜tool▁call▁begin｜>function<｜tool▁sep｜>\" {} \"\\n```json\\n\" {} \"\\n```<｜tool▁call▁end｜>\"",
          name(i), arguments(i));
    });
  }
  std::string deepseek_v31() const {
    return deepseek(R"("")", [&](size_t i) {
      return fmt::format("\"<｜tool▁call▁begin｜>\" {} \"<｜tool▁sep｜>\" {} \"<｜tool▁call▁end｜>\"", name(i),
                         arguments(i));
    });
  }
  // The two headers say the same: gpt-oss writes the first and is shown the second.
  std::string harmony() const {
    return grammar(
        "thought? call",
        rule_of_tools("call", tools_, [&](size_t i) {
          return fmt::format(
              R"(("<|channel|>commentary to=functions." {0} | " to=functions." {0} "<|channel|>commentary") (" "? "<|constrain|>json" | " json")? "<|message|>" {1})",
              name(i), arguments(i));
        }) + harmony_thought());
  }

  static std::string harmony_thought() {
    return "thought ::= \"<|channel|>analysis<|message|>\" musing \"<|end|><|start|>assistant\"\n" +
           gbnf_text_without("<|", "musing");
  }

 private:
  static constexpr const char* kBreaks = "breaks ::= \"\\n\"{0,2}\n";

  std::string name(size_t i) const { return gbnf_literal(tools_[i].name); }
  std::string arguments(size_t i) const { return "(" + arguments_.expressions[i] + ")"; }
  std::string joined(const std::string& separator) const {
    return several_ ? fmt::format("call ({} call)*", separator) : "call";
  }
  std::string grammar(const std::string& root, const std::string& rules) const {
    return fmt::format("root ::= {}\n{}gap ::= | \" \" | \"\\n\" [ \\t]{{0,20}}\n{}", root, rules, arguments_.text);
  }
  // {"name": NAME, "arguments": {…}}
  std::string object_call(const char* key, const char* rule = "call") const {
    return rule_of_tools(rule, tools_, [&](size_t i) {
      return fmt::format(R"("{{" gap "\"name\"" gap ":" gap {} gap "," gap "\"{}\"" gap ":" gap {} gap "}}")",
                         gbnf_literal(text_of(tools_[i].name)), key, arguments(i));
    });
  }
  template <typename OfTool>
  std::string deepseek(const char* separator, const OfTool& of_tool) const {
    return grammar(fmt::format("breaks \"<｜tool▁calls▁begin｜>\" {} \"<｜tool▁calls▁end｜>\"", joined(separator)),
                   rule_of_tools("call", tools_, of_tool) + kBreaks);
  }

  const std::span<const Tool> tools_;
  const bool several_;
  SchemaRules arguments_;
};

// ---- formats that mark each argument ----

// Of the marks, with their line breaks: around a call, a key, a value.
struct XmlMarks {
  const char *call_begin, *behind_name, *call_end, *key_begin, *behind_key, *value_end;
  const char* end_of_text;  // which a text therefore cannot hold
};

// Text stands as it is, all else as JSON; output_parser reads it back so.
class XmlCalls {
 public:
  XmlCalls(std::span<const Tool> tools, bool several, const XmlMarks& marks) : marks_(marks) {
    for (const Tool& tool : tools) add_schemas(tool);
    values_ = rules_or(schemas_, kAnyValue);
    const std::string call = rule_of_tools("call", tools, [&](size_t i) { return one_call(tools[i]); });
    grammar_ =
        fmt::format("root ::= breaks call{}\nbreaks ::= \"\\n\"{{0,2}}\n{}{}{}", several ? " (breaks call)*" : "", call,
                    gbnf_text_without(marks.end_of_text, "plain"), values_.text);
  }
  std::string grammar() const { return grammar_; }

 private:
  struct Property {
    std::string name, schema;
    bool required = false, is_text = false;
    std::vector<std::string> texts;  // the only ones, where there are such
  };

  static std::vector<Property> properties_of(const Tool& tool) {
    const Json schema = Json::parse(tool.parameters, nullptr, false);
    std::vector<Property> properties;
    if (!schema.is_object()) return properties;
    const Json listed = schema.value("properties", Json::object()), required = schema.value("required", Json::array());
    if (!listed.is_object()) return properties;
    for (const auto& [name, value] : listed.items()) {
      Json whole = value;
      for (const char* key : {"$defs", "definitions"})  // what its references mean
        if (whole.is_object() && schema.contains(key)) whole[key] = schema[key];
      const std::string text = text_of(whole);
      properties.push_back({.name = name,
                            .schema = grammar_of_schema(text) ? text : kAnyValue,
                            .required = std::find(required.begin(), required.end(), Json(name)) != required.end(),
                            .is_text = value.is_object() && value.value("type", Json()) == "string",
                            .texts = {}});
      if (!properties.back().is_text) continue;
      for (const Json& one : value.value("enum", Json::array()))
        if (one.is_string()) properties.back().texts.push_back(gbnf_literal(one.get<std::string>()));
    }
    return properties;
  }
  void add_schemas(const Tool& tool) {
    for (const Property& property : properties_of(tool)) schemas_.push_back(property.schema);
  }

  std::string one_call(const Tool& tool) {
    std::string call = gbnf_literal(marks_.call_begin + tool.name + marks_.behind_name);
    for (const Property& property : properties_of(tool)) {
      const std::string argument =
          fmt::format("{} {} {}", gbnf_literal(marks_.key_begin + property.name + marks_.behind_key),
                      value_of(property, values_.expressions[n_values_++]), gbnf_literal(marks_.value_end));
      call += property.required ? " " + argument : " (" + argument + ")?";
    }
    return call + " " + gbnf_literal(marks_.call_end);
  }
  static std::string value_of(const Property& property, const std::string& as_json) {
    if (!property.is_text) return "(" + as_json + ")";
    return property.texts.empty() ? "plain" : gbnf_any_of(property.texts);
  }

  const XmlMarks marks_;
  std::vector<std::string> schemas_;
  SchemaRules values_;
  size_t n_values_ = 0;
  std::string grammar_;
};

constexpr XmlMarks kQwenMarks = {
    "<tool_call>\n<function=", ">\n",         "</function>\n</tool_call>", "<parameter=", ">\n",
    "\n</parameter>\n",        "</parameter>"};
constexpr XmlMarks kGlmMarks = {"<tool_call>",    "\n",          "</tool_call>", "<arg_key>", "</arg_key>\n<arg_value>",
                                "</arg_value>\n", "</arg_value>"};

}  // namespace

std::optional<std::string> grammar_of_calls(CallFormat format, std::span<const Tool> tools, bool several) {
  if (tools.empty()) return std::nullopt;
  switch (format) {
    case CallFormat::kNone:
      break;
    case CallFormat::kJson:
      return JsonCalls(tools, several).plain();
    case CallFormat::kHermes:
      return JsonCalls(tools, several).hermes();
    case CallFormat::kQwenXml:
      return XmlCalls(tools, several, kQwenMarks).grammar();
    case CallFormat::kLlama3:
      return JsonCalls(tools, several).llama3();
    case CallFormat::kMistral:
      return JsonCalls(tools, several).mistral();
    case CallFormat::kHarmony:
      return JsonCalls(tools, several).harmony();
    case CallFormat::kDeepSeekR1:
      return JsonCalls(tools, several).deepseek_r1();
    case CallFormat::kDeepSeekV31:
      return JsonCalls(tools, several).deepseek_v31();
    case CallFormat::kGlm:
      return XmlCalls(tools, several, kGlmMarks).grammar();
  }
  return std::nullopt;
}

Result<std::string> grammar_of_json_answer(CallFormat format, const std::string& schema) {
  if (format != CallFormat::kHarmony) return grammar_of_schema(schema);
  ASSIGN_OR_RETURN(const SchemaRules rules, rules_of_schemas({&schema, 1}));
  return fmt::format(
      "root ::= thought? \"<|channel|>final\" (\" \"? \"<|constrain|>json\")? \"<|message|>\" ({})\n{}{}",
      rules.expressions.front(), JsonCalls::harmony_thought(), rules.text);
}

}  // namespace spillway
