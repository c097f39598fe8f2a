// SPDX-License-Identifier: MIT
#include "chat/argument_schema.h"

#include <algorithm>

#include "base/json_reader.h"
#include "chat/json_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// The only values; null where any are.
Json listed_values(const Json& schema) {
  if (schema.contains("const")) return Json::array({schema["const"]});
  return schema.value("enum", Json());
}

constexpr int kFitDepthMax = 64;

// What a local reference means, and the one part that is not null.
const Json* resolved(const Json* schema, const Json& root) {
  for (int steps = 0; steps < kFitDepthMax && schema->is_object(); ++steps) {
    if (schema->contains("$ref") && (*schema)["$ref"].is_string()) {
      const auto pointer = (*schema)["$ref"].get<std::string>();
      if (!pointer.starts_with("#/")) return nullptr;
      try {
        schema = &root.at(Json::json_pointer(pointer.substr(1)));
      } catch (const nlohmann::json::exception&) {
        return nullptr;
      }
      continue;
    }
    const auto parts = schema->contains("anyOf") ? schema->find("anyOf") : schema->find("oneOf");
    if (parts == schema->end() || !parts->is_array()) return schema;
    const Json* only = nullptr;
    for (const Json& part : *parts) {
      if (part.is_object() && part.value("type", Json()) == "null") continue;
      if (only != nullptr) return nullptr;
      only = &part;
    }
    if (only == nullptr) return nullptr;
    schema = only;
  }
  return schema->is_object() ? schema : nullptr;
}

// `wanted`: null where nothing is known.
Json fitted_within(Json value, const Json* wanted, const Json& root, const MeantValue& meant, int depth) {
  const Json* schema = wanted != nullptr && depth < kFitDepthMax ? resolved(wanted, root) : nullptr;
  const auto part = [&](const char* keyword) -> const Json* {
    if (schema == nullptr) return nullptr;
    const auto found = schema->find(keyword);
    return found == schema->end() ? nullptr : &*found;
  };
  if (value.is_string()) {
    if (schema != nullptr && is_text_schema(*schema)) return value;
    const bool nothing = without_blanks(value.get_ref<const std::string&>()).empty();
    const Json type = schema != nullptr ? schema->value("type", Json()) : Json();
    if (nothing && type == "array") return Json::array();
    if (nothing && type == "object") return Json::object();
    return meant(value.get<std::string>());
  }
  if (value.is_array())
    for (Json& one : value) one = fitted_within(std::move(one), part("items"), root, meant, depth + 1);
  if (value.is_object()) {
    const Json* properties = part("properties");
    const Json* others = part("additionalProperties");
    for (auto& [key, one] : value.items()) {
      const bool known = properties != nullptr && properties->is_object() && properties->contains(key);
      one = fitted_within(std::move(one), known ? &(*properties)[key] : others, root, meant, depth + 1);
    }
  }
  return value;
}

}  // namespace

Json fitted(Json value, const Json& schema, const MeantValue& meant) {
  return fitted_within(std::move(value), &schema, schema, meant, 0);
}

std::set<std::string> texts_of(const Json* list) {
  std::set<std::string> texts;
  if (list == nullptr || !list->is_array()) return texts;
  for (const Json& one : *list)
    if (one.is_string()) texts.insert(one.get<std::string>());
  return texts;
}

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
  const Json schema = json_or_null(tool.parameters);
  if (!schema.is_object()) return properties;
  const Json listed = schema.value("properties", Json::object());
  if (!listed.is_object()) return properties;
  const std::set<std::string> required =
      schema.contains("required") ? texts_of(&schema["required"]) : texts_of(nullptr);
  // What references may lead to goes with each property, unless that would be far more than the schema itself.
  constexpr size_t kCopiedBytesMax = 32u << 20;
  const bool with_definitions = listed.size() * tool.parameters.size() <= kCopiedBytesMax;
  for (const auto& [name, value] : listed.items()) {
    ArgumentProperty property{.name = name, .schema = value, .texts = {}};
    for (const char* key : {"$defs", "definitions"})
      if (with_definitions && property.schema.is_object() && schema.contains(key)) property.schema[key] = schema[key];
    property.required = required.contains(name);
    property.is_text = is_text_schema(value);
    if (property.is_text)
      for (const Json& one : listed_values(value))
        if (one.is_string()) property.texts.push_back(one.get<std::string>());
    properties.push_back(std::move(property));
  }
  return properties;
}

}  // namespace spillway
