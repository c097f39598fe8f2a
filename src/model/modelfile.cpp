// SPDX-License-Identifier: MIT
#include "model/modelfile.h"

#include <fmt/format.h>

#include <algorithm>

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

std::string value_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Calls `line(name, value)` for each value: an array has several.
template <typename Line>
void for_each_value(const Json& parameters, const Line& line) {
  for (const auto& [name, value] : parameters.items()) {
    if (!value.is_array()) {
      line(name, value_text(value));
      continue;
    }
    for (const Json& one : value) line(name, value_text(one));
  }
}

// Three quotes around what may span lines.
std::string block(const std::string& keyword, const std::string& text) {
  if (text.empty()) return "";
  return fmt::format("{} \"\"\"{}\"\"\"\n", keyword, text);
}

bool is_plain(const Json& value) { return value.is_number() || value.is_boolean() || value.is_string(); }

}  // namespace

std::string parameters_text(const Json& parameters) {
  std::string text;
  for_each_value(parameters, [&](const std::string& name, const std::string& value) {
    text += fmt::format("{}{:<30} {}", text.empty() ? "" : "\n", name, value);
  });
  return text;
}

std::string modelfile_text(const std::string& from, const ModelExtras& extras) {
  std::string text = fmt::format("# Written by \"spillway show\"\nFROM {}\n", from);
  if (!extras.template_is_gguf) text += block("TEMPLATE", extras.template_text);  // else FROM brings it
  text += block("SYSTEM", extras.system);
  for_each_value(extras.parameters, [&](const std::string& name, const std::string& value) {
    text += fmt::format("PARAMETER {} {}\n", name, value);
  });
  for (const ModelMessage& message : extras.messages)
    text += block(fmt::format("MESSAGE {}", message.role), message.content);
  for (const std::string& license : extras.licenses) text += block("LICENSE", license);
  return text;
}

Result<void> check_parameters(const Json& parameters) {
  if (!parameters.is_object()) return error(Code::kInvalidArgument, "parameters must be an object");
  for (const auto& [name, value] : parameters.items()) {
    const bool texts =
        value.is_array() && std::all_of(value.begin(), value.end(), [](const Json& one) { return one.is_string(); });
    if (!is_plain(value) && !texts)
      return error(Code::kInvalidArgument,
                   fmt::format("parameter \"{}\" must be a number, a boolean, a string or an array of strings",
                               name.substr(0, 60)));
  }
  return {};
}

}  // namespace spillway
