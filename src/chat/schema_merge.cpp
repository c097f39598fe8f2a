// SPDX-License-Identifier: MIT
#include "chat/schema_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/json_writer.h"

namespace spillway {
namespace {

const std::set<std::string> kHighest = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"};
const std::set<std::string> kLowest = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"};
// Say nothing about what is admitted.
const std::set<std::string> kNotes = {"title",  "description", "default",  "examples",  "$comment", "$schema",    "$id",
                                      "format", "deprecated",  "readOnly", "writeOnly", "$defs",    "definitions"};

Failure nothing(const std::string& keyword) {
  return error(Code::kInvalidArgument, fmt::format("allOf: nothing satisfies both {}", keyword));
}

// "integer" is a "number".
Result<Schema> merge_types(const Schema& a, const Schema& b) {
  const auto list = [](const Schema& type) { return type.is_array() ? type : Schema::array({type}); };
  constexpr size_t kTypesMax = 100;
  if (a.size() > kTypesMax || b.size() > kTypesMax) return nothing("types");
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

// The same for values that are equal: 1 and 1.0 are.
std::string key_of(const Schema& value) {
  if (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()) &&
      std::abs(value.get<double>()) < 1e15)
    return std::to_string(static_cast<int64_t>(value.get<double>()));
  return write_json(value);
}

Result<Schema> merge_enums(const Schema& a, const Schema& b) {
  if (!a.is_array() || !b.is_array()) return nothing("enums");
  std::unordered_set<std::string> known;
  for (const Schema& value : b) known.insert(key_of(value));
  Schema both = Schema::array();
  for (const Schema& value : a)
    if (known.count(key_of(value)) > 0) both.push_back(value);
  if (both.empty()) return nothing("enums");
  return both;
}

// Those of both, each once.
Schema united(const Schema& a, const Schema& b) {
  std::unordered_set<std::string> known;
  Schema all = Schema::array();
  for (const Schema* list : {&a, &b})
    for (const Schema& value : *list)
      if (known.insert(key_of(value)).second) all.push_back(value);
  return all;
}

// What a schema says of properties, those that it does not list included; true: anything.
class Properties {
 public:
  // `schema` must outlive it.
  explicit Properties(const Schema& schema)
      : others_(schema.contains("additionalProperties") ? schema["additionalProperties"] : anything()) {
    if (!schema.contains("properties")) return;
    for (const auto& [name, value] : schema["properties"].items()) {
      listed_.emplace(name, &value);
      names.push_back(name);
    }
  }
  const Schema& operator[](const std::string& name) const {
    const auto found = listed_.find(name);
    return found != listed_.end() ? *found->second : others_;
  }
  // What is said of those that are not listed is copied for each of them.
  uint64_t steps_to_copy(const std::string& name) const { return listed_.count(name) > 0 ? 0 : steps_through_others_; }

  std::vector<std::string> names;  // in order

 private:
  static const Schema& anything() {
    static const Schema kTrue(true);
    return kTrue;
  }

  const Schema& others_;
  const uint64_t steps_through_others_ = steps_through(others_);
  std::unordered_map<std::string, const Schema*> listed_;
};

Result<Schema> merge_properties(const Schema& a, const Schema& b, SchemaWork& work) {
  const Properties of_a(a), of_b(b);
  std::unordered_set<std::string> done;
  Schema::object_t all;
  all.reserve(of_a.names.size() + of_b.names.size());
  for (const Properties* properties : {&of_a, &of_b})
    for (const std::string& name : properties->names) {
      if (!done.insert(name).second) continue;
      RETURN_IF_ERROR(work.charge(of_a.steps_to_copy(name) + of_b.steps_to_copy(name)));
      auto merged = merge_schemas(of_a[name], of_b[name], work);
      RETURN_IF_ERROR(work.charge(0));  // what was used up says nothing of the property
      // A property that cannot be is one that may not be.
      if (!merged && merged.error().code() == Code::kInvalidArgument) merged = Schema(false);
      if (!merged) return merged;
      all.emplace_back(name, std::move(*merged));
    }
  return Schema(std::move(all));
}

Result<Schema> merge_keyword(const std::string& keyword, const Schema& x, const Schema& y, SchemaWork& work) {
  if (x == y) return x;
  if (kHighest.count(keyword) > 0) return std::max(x, y);
  if (kLowest.count(keyword) > 0) return std::min(x, y);
  if (kNotes.count(keyword) > 0) return y;
  if (keyword == "type") return merge_types(x, y);
  if (keyword == "enum") return merge_enums(x, y);
  if (keyword == "const") return nothing("constants");
  if (keyword == "items" || keyword == "additionalProperties") return merge_schemas(x, y, work);
  if (keyword == "uniqueItems") return Schema(true);
  if (keyword == "required" && x.is_array() && y.is_array()) return united(x, y);
  if (keyword == "allOf" && x.is_array() && y.is_array()) {
    Schema all = x;
    for (const Schema& value : y) all.push_back(value);
    return all;
  }
  return error(Code::kUnsupported, fmt::format("allOf: two of {} cannot be merged", keyword));
}

}  // namespace

uint64_t steps_through(const Schema& schema) {
  constexpr uint64_t kTextBytes = 64;
  uint64_t steps = 1;
  if (schema.is_string()) steps += schema.get_ref<const std::string&>().size() / kTextBytes;
  if (schema.is_array())
    for (const Schema& part : schema) steps += steps_through(part);
  if (schema.is_object())
    for (auto at = schema.begin(); at != schema.end(); ++at)
      steps += at.key().size() / kTextBytes + steps_through(at.value());
  return steps;
}

Result<Schema> merge_schemas(const Schema& a, const Schema& b, SchemaWork& work) {
  if (a == Schema(true)) return b;
  if (b == Schema(true)) return a;
  if (!a.is_object() || !b.is_object()) return nothing("(one is false)");
  constexpr size_t kKeywordsMax = 1000;
  if (a.size() > kKeywordsMax || b.size() > kKeywordsMax)
    return error(Code::kUnsupported, "a schema of more than 1000 keywords");
  for (const Schema* schema : {&a, &b})
    if (schema->contains("properties") && !(*schema)["properties"].is_object())
      return error(Code::kUnsupported, "properties is no object");
  // What both say is not copied before it is merged: below it may be all of the schema, and it would be at each level.
  Schema::object_t keywords;  // none comes twice: nobody looks for it
  const auto add = [&](const std::string& keyword, Schema value) {
    static_cast<std::vector<Schema::object_t::value_type>&>(keywords).emplace_back(keyword, std::move(value));
  };
  for (const auto& [keyword, value] : a.items()) {
    if (keyword == "properties") {
      add(keyword, Schema::object());  // in its place; what they are comes last
    } else if (!b.contains(keyword)) {
      add(keyword, value);
    } else {
      ASSIGN_OR_RETURN(Schema both, merge_keyword(keyword, value, b[keyword], work));
      add(keyword, std::move(both));
    }
  }
  for (const auto& [keyword, value] : b.items())
    if (keyword != "properties" && !a.contains(keyword)) add(keyword, value);
  Schema merged(std::move(keywords));
  ASSIGN_OR_RETURN(Schema properties, merge_properties(a, b, work));
  if (!properties.empty()) merged["properties"] = std::move(properties);
  return merged;
}

}  // namespace spillway
