// SPDX-License-Identifier: MIT
#include "chat/go_conversation.h"

#include <fmt/format.h>

#include "base/json_reader.h"
#include "chat/json_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

Result<Json> go_object(const std::string& text, const std::string& what) {
  if (!is_json_object(text)) return error(Code::kInvalidArgument, fmt::format("{} must be a JSON object", what));
  return read_json(text);
}

// null where it is absent. No copy: below it may be all of a schema, and it would be copied at each level.
const Json& member_or_null(const Json& json, const char* key) {
  static const Json kAbsent;
  const auto found = json.find(key);
  return found == json.end() ? kAbsent : *found;
}

GoValue go_text(const Json& json, const char* key) {
  const Json& value = member_or_null(json, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

GoValue go_any(const Json& json, const char* key) { return GoValue::from_json(member_or_null(json, key)); }

GoValue go_list(const Json& json, const char* key) {
  const Json& value = member_or_null(json, key);
  return value.is_array() ? GoValue::from_json(value) : GoValue::list({});
}

// What tools take, as Ollama hands it over. Each parameter is a kilobyte then, of six bytes in a request.
class GoParameters {
 public:
  //   InvalidArgument   there are far too many
  Result<GoValue> of_tool(const Json& schema) {
    GoValue all = GoValue::structure({{"Type", "type", go_text(schema, "type")},
                                      {"Defs", "$defs", go_any(schema, "$defs"), true},
                                      {"Items", "items", go_any(schema, "items"), true},
                                      {"Required", "required", go_list(schema, "required"), true},
                                      {"Properties", "properties", listed(schema, GoValue::map({}, true))}},
                                     true);
    if (n_ > kParametersMax)
      return error(Code::kInvalidArgument, fmt::format("the tools take more than {} parameters", kParametersMax));
    return all;
  }

 private:
  static constexpr size_t kParametersMax = 50'000;

  // One type is text, several are a list.
  static GoValue type_of(const Json& schema) {
    const Json& type = member_or_null(schema, "type");
    if (type.is_array() && type.size() == 1) return GoValue::from_json(type[0]);
    return type.is_array() || type.is_string() ? GoValue::from_json(type) : GoValue("");
  }

  GoValue property(const Json& schema) {
    if (++n_ > kParametersMax || !schema.is_object()) return GoValue::structure({});
    GoList any;
    if (const Json& parts = member_or_null(schema, "anyOf"); parts.is_array())
      for (const Json& part : parts) any.push_back(property(part));
    return GoValue::structure({{"AnyOf", "anyOf", GoValue::list(std::move(any)), true},
                               {"Type", "type", type_of(schema), true},
                               {"Items", "items", go_any(schema, "items"), true},
                               {"Description", "description", go_text(schema, "description"), true},
                               {"Enum", "enum", go_list(schema, "enum"), true},
                               {"Properties", "properties", listed(schema, GoValue()), true},
                               {"Required", "required", go_list(schema, "required"), true}});
  }

  GoValue listed(const Json& schema, GoValue otherwise) {
    const Json& all = member_or_null(schema, "properties");
    if (!all.is_object()) return otherwise;
    GoMap properties;
    for (const auto& [name, one] : all.items()) properties.insert_or_assign(name, property(one));
    return GoValue::map(std::move(properties), true);
  }

  size_t n_ = 0;
};

Result<GoValue> go_calls(const std::vector<ToolCall>& calls) {
  if (calls.empty()) return GoValue::no_list();
  GoList list;
  for (const ToolCall& call : calls) {
    ASSIGN_OR_RETURN(const Json arguments,
                     go_object(call.arguments, fmt::format("the arguments of the call of {}", call.name)));
    const GoValue values = GoValue::from_json(arguments);
    const GoValue function = GoValue::structure({{"Index", "Index", static_cast<int64_t>(list.size())},
                                                 {"Name", "Name", call.name},
                                                 {"Arguments", "Arguments", GoValue::map(*values.as_map(), true)}});
    list.push_back(GoValue::structure({{"ID", "ID", call.id}, {"Function", "Function", function}}));
  }
  return GoValue::list(std::move(list));
}

}  // namespace

Result<GoValue> go_messages(std::span<const Message> messages) {
  GoList list;
  for (const Message& message : messages) {
    ASSIGN_OR_RETURN(const GoValue calls, go_calls(message.tool_calls));
    list.push_back(GoValue::structure({{"Role", "Role", message.role},
                                       {"Content", "Content", message.content},
                                       {"Thinking", "Thinking", message.thinking},
                                       {"Images", "Images", GoValue::no_list()},
                                       {"ToolCalls", "ToolCalls", calls},
                                       {"ToolName", "ToolName", message.tool_name},
                                       {"ToolCallID", "ToolCallID", message.tool_call_id}}));
  }
  return GoValue::list(std::move(list));
}

Result<GoValue> go_tools(std::span<const Tool> tools) {
  GoList list;
  GoParameters parameters;
  for (const Tool& tool : tools) {
    if (!tool.in_prompt) continue;
    ASSIGN_OR_RETURN(const Json schema,
                     go_object(tool.parameters, fmt::format("the parameters of the tool {}", tool.name)));
    ASSIGN_OR_RETURN(const GoValue all, parameters.of_tool(schema));
    const GoValue function = GoValue::structure({{"Name", "name", tool.name},
                                                 {"Description", "description", tool.description},
                                                 {"Parameters", "parameters", all}},
                                                true);
    list.push_back(GoValue::structure(
        {{"Type", "type", "function"}, {"Items", "items", GoValue(), true}, {"Function", "function", function}}, true));
  }
  return list.empty() ? GoValue::no_list(true) : GoValue::list(std::move(list), true);
}

}  // namespace spillway
