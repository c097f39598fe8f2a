// SPDX-License-Identifier: MIT
#include "chat/argument_schema.h"

#include <algorithm>
#include <utility>

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "chat/json_text.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

// null: not there. No copy: schemas nest, and one would be copied at each level.
const Json* keyword_of(const Json& schema, const char* keyword) {
  const auto found = schema.find(keyword);
  return found == schema.end() ? nullptr : &*found;
}

// The only values; empty where any are.
std::vector<const Json*> listed_values(const Json& schema) {
  if (const Json* only = keyword_of(schema, "const"); only != nullptr) return {only};
  std::vector<const Json*> values;
  if (const Json* listed = keyword_of(schema, "enum"); listed != nullptr && listed->is_array())
    for (const Json& value : *listed) values.push_back(&value);
  return values;
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

Json fitted(Json value, const Json& schema, const Json& root, const MeantValue& meant) {
  // A property that brings definitions of its own, to a tool without any, means those.
  const auto defines = [](const Json& one) {
    return one.is_object() && (one.contains("$defs") || one.contains("definitions"));
  };
  return fitted_within(std::move(value), &schema, defines(schema) && !defines(root) ? schema : root, meant, 0);
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
  static const Json kNoType;
  const Json* said = keyword_of(schema, "type");
  const Json& type = said != nullptr ? *said : kNoType;
  if (type.is_string()) return type == "string";
  if (type.is_array())
    return std::all_of(type.begin(), type.end(), is_text) &&
           std::find(type.begin(), type.end(), "string") != type.end();
  for (const char* keyword : {"anyOf", "oneOf"}) {
    const Json* parts = keyword_of(schema, keyword);
    if (parts == nullptr || !parts->is_array()) continue;
    // Each is asked once: they nest.
    bool any = false;
    for (const Json& part : *parts) {
      const bool is_one = is_text_schema(part);
      if (!is_one && !(part.is_object() && part.contains("type") && part["type"] == "null")) return false;
      any = any || is_one;
    }
    return any;
  }
  const std::vector<const Json*> values = listed_values(schema);
  return !values.empty() &&
         std::all_of(values.begin(), values.end(), [](const Json* value) { return value->is_string(); });
}

ArgumentSchema::ArgumentSchema(const Tool& tool) {
  constexpr size_t kBytesMax = 4u << 20;  // no grammar is made of a larger one either
  if (tool.parameters.size() > kBytesMax || nests_deeper(tool.parameters)) return;
  schema_ = json_or_null(tool.parameters);
  if (!schema_.is_object()) return;
  const auto listed = std::as_const(schema_).find("properties");
  if (listed == schema_.cend() || !listed->is_object()) return;
  for (const char* key : {"$defs", "definitions"})
    if (schema_.contains(key)) definitions_ += "," + json_string(key) + ":" + write_json(schema_[key]);
  const std::set<std::string> required =
      schema_.contains("required") ? texts_of(&schema_["required"]) : texts_of(nullptr);
  for (const auto& [name, value] : listed->items()) {
    ArgumentProperty property{.name = name, .schema = &value, .root = &schema_, .texts = {}};
    property.required = required.contains(name);
    property.is_text = is_text_schema(value);
    if (property.is_text)
      for (const Json* one : listed_values(value))
        if (one->is_string()) property.texts.push_back(one->get<std::string>());
    places_.emplace(name, properties_.size());
    properties_.push_back(std::move(property));
  }
}

const ArgumentProperty* ArgumentSchema::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &properties_[found->second];
}

std::string ArgumentSchema::text_of(const ArgumentProperty& property) const {
  std::string text = write_json(*property.schema);
  // Of two members with the same name the later one counts.
  if (definitions_.empty() || text.find("\"$ref\"") == std::string::npos || !text.ends_with('}')) return text;
  text.pop_back();
  return text + definitions_ + "}";
}

const ArgumentSchema& ArgumentSchemas::of(const Tool& tool) { return known_.try_emplace(&tool, tool).first->second; }

}  // namespace spillway
