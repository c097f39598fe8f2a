// SPDX-License-Identifier: MIT
#include "chat/schema_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace spillway {
namespace {

const std::set<std::string> kHighest = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"};
const std::set<std::string> kLowest = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"};
// Say nothing about what is admitted.
const std::set<std::string> kNotes = {"title",  "description", "default",  "examples",  "$comment", "$schema",    "$id",
                                      "format", "deprecated",  "readOnly", "writeOnly", "$defs",    "definitions"};

tl::unexpected<Status> nothing(const std::string& keyword) {
  return error(Code::kInvalidArgument, fmt::format("allOf: nothing satisfies both {}", keyword));
}

// "integer" is a "number".
Result<Schema> merge_types(const Schema& a, const Schema& b) {
  const auto list = [](const Schema& type) { return type.is_array() ? type : Schema::array({type}); };
  Schema both = Schema::array();
  for (const Schema& x : list(a))
    for (const Schema& y : list(b)) {
      Schema common;
      if (x == y) common = x;
      if ((x == "integer" && y == "number") || (x == "number" && y == "integer")) common = "integer";
      if (!common.is_null() && std::find(both.begin(), both.end(), common) == both.end()) both.push_back(common);
    }
  if (both.empty()) return nothing("types");
  return both.size() == 1 ? both[0] : both;
}

Result<Schema> merge_enums(const Schema& a, const Schema& b) {
  Schema both = Schema::array();
  for (const Schema& value : a)
    if (std::find(b.begin(), b.end(), value) != b.end()) both.push_back(value);
  if (both.empty()) return nothing("enums");
  return both;
}

// What `schema` says of a property that it may not list; true: anything.
Schema property_of(const Schema& schema, const std::string& name) {
  if (schema.contains("properties") && schema["properties"].contains(name)) return schema["properties"][name];
  return schema.value("additionalProperties", Schema(true));
}

Result<Schema> merge_properties(const Schema& a, const Schema& b) {
  Schema all = Schema::object();
  for (const Schema* schema : {&a, &b}) {
    if (!schema->contains("properties")) continue;
    for (const auto& [name, ignored] : (*schema)["properties"].items()) {
      if (all.contains(name)) continue;
      auto merged = merge_schemas(property_of(a, name), property_of(b, name));
      // A property that cannot be is one that may not be.
      if (!merged && merged.error().code() == Code::kInvalidArgument) merged = Schema(false);
      if (!merged) return merged;
      all[name] = std::move(*merged);
    }
  }
  return all;
}

Result<Schema> merge_keyword(const std::string& keyword, const Schema& x, const Schema& y) {
  if (x == y) return x;
  if (kHighest.count(keyword) > 0) return std::max(x, y);
  if (kLowest.count(keyword) > 0) return std::min(x, y);
  if (kNotes.count(keyword) > 0) return y;
  if (keyword == "type") return merge_types(x, y);
  if (keyword == "enum") return merge_enums(x, y);
  if (keyword == "const") return nothing("constants");
  if (keyword == "items" || keyword == "additionalProperties") return merge_schemas(x, y);
  if (keyword == "uniqueItems") return Schema(true);
  if (keyword == "allOf" || keyword == "required") {
    Schema all = x;
    for (const Schema& value : y)
      if (keyword == "allOf" || std::find(all.begin(), all.end(), value) == all.end()) all.push_back(value);
    return all;
  }
  return error(Code::kUnsupported, fmt::format("allOf: two of {} cannot be merged", keyword));
}

}  // namespace

Result<Schema> merge_schemas(const Schema& a, const Schema& b) {
  if (a == Schema(true)) return b;
  if (b == Schema(true)) return a;
  if (!a.is_object() || !b.is_object()) return nothing("(one is false)");
  Schema merged = a;
  for (const auto& [keyword, value] : b.items()) {
    if (keyword == "properties") continue;
    if (!merged.contains(keyword)) {
      merged[keyword] = value;
      continue;
    }
    ASSIGN_OR_RETURN(merged[keyword], merge_keyword(keyword, merged[keyword], value));
  }
  ASSIGN_OR_RETURN(Schema properties, merge_properties(a, b));
  if (!properties.empty()) merged["properties"] = std::move(properties);
  return merged;
}

}  // namespace spillway
