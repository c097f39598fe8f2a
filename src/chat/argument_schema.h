// SPDX-License-Identifier: MIT
// What the schema of a tool says of one argument at a time, for formats that write arguments apart. Pure.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "chat/message.h"

namespace spillway {

struct ArgumentProperty {
  std::string name;
  const nlohmann::ordered_json* schema = nullptr;  // within the tool's
  const nlohmann::ordered_json* root = nullptr;    // the tool's, where its references lead
  bool required = false;
  bool is_text = false;            // nothing but text, or nothing but text and null
  std::vector<std::string> texts;  // the only ones, where there are such
};

// What a tool's schema says, read once. Of one that is larger than 4 MiB, nothing. Constant; its properties mean places
// in it, and go before it does.
class ArgumentSchema {
 public:
  explicit ArgumentSchema(const Tool& tool);
  ArgumentSchema(const ArgumentSchema&) = delete;
  ArgumentSchema& operator=(const ArgumentSchema&) = delete;

  // In the order of the schema.
  const std::vector<ArgumentProperty>& properties() const { return properties_; }
  // null: the schema lists no such one.
  const ArgumentProperty* find(const std::string& name) const;

  // The schema of one as a text of its own, with what its references may lead to.
  std::string text_of(const ArgumentProperty& property) const;

 private:
  nlohmann::ordered_json schema_;
  std::string definitions_;  // members of an object, with a comma in front of each
  std::vector<ArgumentProperty> properties_;
  std::map<std::string, size_t> places_;  // in properties_
};

// Those of several tools, each read when it is first asked for. Threads: one at a time.
class ArgumentSchemas {
 public:
  const ArgumentSchema& of(const Tool& tool);

 private:
  std::map<const Tool*, ArgumentSchema> known_;
};

// The texts of a list, such as `required`; null: none.
std::set<std::string> texts_of(const nlohmann::ordered_json* list);

// `schema` admits text, and no other value that could be taken for it.
bool is_text_schema(const nlohmann::ordered_json& schema);

// `value` was read from a notation that does not tell kinds of values apart, so that all within it are text. Where
// `schema` does not want text, each is what `meant` makes of it; nothing is an empty list or object where it wants one.
// References lead to places in `root`.
using MeantValue = std::function<nlohmann::ordered_json(const std::string& text)>;
nlohmann::ordered_json fitted(nlohmann::ordered_json value, const nlohmann::ordered_json& schema,
                              const nlohmann::ordered_json& root, const MeantValue& meant);

}  // namespace spillway
