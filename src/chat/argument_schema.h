// SPDX-License-Identifier: MIT
// What the schema of a tool says of one argument at a time, for formats that write arguments apart. Pure.
#pragma once

#include <nlohmann/json.hpp>
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

// `schema` admits text, and no other value that could be taken for it.
bool is_text_schema(const nlohmann::ordered_json& schema);

}  // namespace spillway
