// SPDX-License-Identifier: MIT
// Values of Go templates (text/template), as Ollama hands them over: what Go knows of a value's type decides how it
// prints, compares and counts. Shared, never changed. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "chat/bounded_text.h"

namespace spillway {

class GoValue;
using GoList = std::vector<GoValue>;
using GoMap = std::map<std::string, GoValue>;  // Go prints and ranges by order of keys

struct GoField;
struct GoStruct {
  std::vector<GoField> fields;
};

class GoValue {
 public:
  GoValue() = default;  // nil
  GoValue(bool value) : value_(value) {}
  GoValue(int64_t value) : value_(value) {}
  GoValue(double value) : value_(value) {}
  GoValue(std::string value) : value_(std::make_shared<const std::string>(std::move(value))) {}
  GoValue(const char* value) : GoValue(std::string(value)) {}
  // `prints_json`: its type has a String method that is its JSON.
  static GoValue list(GoList items, bool prints_json = false);
  // A list that was never made: empty, and null as JSON.
  static GoValue no_list(bool prints_json = false);
  static GoValue map(GoMap entries, bool prints_json = false);
  static GoValue structure(std::vector<GoField> fields, bool prints_json = false);

  // Numbers become float64, as encoding/json makes them.
  static GoValue from_json(const nlohmann::ordered_json& json);

  bool is_nil() const { return std::holds_alternative<std::monostate>(value_); }
  const bool* as_bool() const { return std::get_if<bool>(&value_); }
  const int64_t* as_int() const { return std::get_if<int64_t>(&value_); }
  const double* as_float() const { return std::get_if<double>(&value_); }
  const std::string* as_text() const {
    const auto* text = std::get_if<std::shared_ptr<const std::string>>(&value_);
    return text != nullptr ? text->get() : nullptr;
  }
  const GoList* as_list() const;
  const GoMap* as_map() const;
  const GoStruct* as_struct() const;

  bool truth() const;                  // what `if` takes for true
  void print(BoundedText& out) const;  // %v
  void json(BoundedText& out) const;   // encoding/json's Marshal
  const char* type_name() const;       // for messages

 private:
  void print_within(bool in_interface, BoundedText& out) const;

  std::variant<std::monostate, bool, int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<const GoList>,
               std::shared_ptr<const GoMap>, std::shared_ptr<const GoStruct>>
      value_;
  bool prints_json_ = false, never_made_ = false;
};

struct GoField {
  std::string name, json_name;
  GoValue value;
  bool omit_empty = false;
};

// As strconv and fmt write them.
std::string go_float(double value);

// %q.
void go_quoted(std::string_view text, BoundedText& out);

}  // namespace spillway
