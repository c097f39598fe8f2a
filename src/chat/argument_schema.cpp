// SPDX-License-Identifier: MIT
#include "chat/argument_schema.h"

#include <algorithm>

#include "chat/json_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// The only values; null where any are.
Json listed_values(const Json& schema) {
  if (schema.contains("const")) return Json::array({schema["const"]});
  return schema.value("enum", Json());
}

}  // namespace

bool is_text_schema(const Json& schema) {
  if (!schema.is_object()) return false;
  const auto is_text = [](const Json& type) { return type == "string" || type == "null"; };
  const Json type = schema.value("type", Json());
  if (type.is_string()) return type == "string";
  if (type.is_array())
    return std::all_of(type.begin(), type.end(), is_text) &&
           std::find(type.begin(), type.end(), "string") != type.end();
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const Json parts = schema.value(keyword, Json());
    if (!parts.is_array()) continue;
    const bool all = std::all_of(parts.begin(), parts.end(), [](const Json& part) {
      return is_text_schema(part) || (part.is_object() && part.value("type", Json()) == "null");
    });
    return all && std::any_of(parts.begin(), parts.end(), is_text_schema);
  }
  const Json values = listed_values(schema);
  return values.is_array() && !values.empty() &&
         std::all_of(values.begin(), values.end(), [](const Json& value) { return value.is_string(); });
}

std::vector<ArgumentProperty> properties_of(const Tool& tool) {
  std::vector<ArgumentProperty> properties;
  if (nests_deeper(tool.parameters)) return properties;
  const Json schema = Json::parse(tool.parameters, nullptr, false);
  if (!schema.is_object()) return properties;
  const Json listed = schema.value("properties", Json::object()), required = schema.value("required", Json::array());
  if (!listed.is_object()) return properties;
  for (const auto& [name, value] : listed.items()) {
    ArgumentProperty property{.name = name, .schema = value, .texts = {}};
    for (const char* key : {"$defs", "definitions"})
      if (property.schema.is_object() && schema.contains(key)) property.schema[key] = schema[key];
    property.required =
        required.is_array() && std::find(required.begin(), required.end(), Json(name)) != required.end();
    property.is_text = is_text_schema(value);
    if (property.is_text)
      for (const Json& one : listed_values(value))
        if (one.is_string()) property.texts.push_back(one.get<std::string>());
    properties.push_back(std::move(property));
  }
  return properties;
}

}  // namespace spillway
