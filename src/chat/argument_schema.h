// SPDX-License-Identifier: MIT
// What the schema of a tool says of one argument at a time, for formats that write arguments apart. Pure.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "chat/message.h"

namespace spillway {

struct ArgumentProperty {
  std::string name;
  nlohmann::ordered_json schema;  // with the definitions that its references mean
  bool required = false;
  bool is_text = false;            // nothing but text, or nothing but text and null
  std::vector<std::string> texts;  // the only ones, where there are such
};

// In the order of the schema.
std::vector<ArgumentProperty> properties_of(const Tool& tool);

// The texts of a list, such as `required`; null: none.
std::set<std::string> texts_of(const nlohmann::ordered_json* list);

// `schema` admits text, and no other value that could be taken for it.
bool is_text_schema(const nlohmann::ordered_json& schema);

// `value` was read from a notation that does not tell kinds of values apart, so that all within it are text. Where
// `schema` does not want text, each is what `meant` makes of it; nothing is an empty list or object where it wants one.
using MeantValue = std::function<nlohmann::ordered_json(const std::string& text)>;
nlohmann::ordered_json fitted(nlohmann::ordered_json value, const nlohmann::ordered_json& schema,
                              const MeantValue& meant);

}  // namespace spillway
