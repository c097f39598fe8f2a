// SPDX-License-Identifier: MIT
#include "serve/model_requests.h"

#include <fmt/format.h>

#include "serve/ollama_options.h"

namespace spillway {

Result<std::string> model_field(const Json& json) {
  for (const char* name : {"model", "name"}) {
    ASSIGN_OR_RETURN(const auto value, string_field(json, name));
    if (value && !value->empty()) return *value;
  }
  return invalid("model is required");
}

Result<CreateRequest> parse_create(const Json& json) {
  CreateRequest create;
  ASSIGN_OR_RETURN(const auto from, string_field(json, "from"));
  create.from = from.value_or("");
  if (const Json* files = find_field(json, "files"); files != nullptr) {
    if (!files->is_object()) return invalid("'files' must be of type object");
    for (const auto& [name, digest] : files->items()) {
      if (!digest.is_string()) return invalid("'files' maps file names to digests");
      create.blobs.emplace_back(name, digest.get<std::string>());
    }
  }
  const auto is_given = [&](const char* name) {
    const Json* value = find_field(json, name);
    return value != nullptr && !value->empty() && *value != "";
  };
  if (is_given("quantize"))
    return error(Code::kUnsupported, "'quantize' is not supported; use llama-quantize, and create with what it writes");
  if (is_given("adapters"))
    return error(Code::kUnsupported, "'adapters' are not supported; merge one into its model (llama-export-lora)");
  if (create.from.empty() && create.blobs.empty()) return invalid("neither 'from' or 'files' was specified");
  ASSIGN_OR_RETURN(create.template_text, string_field(json, "template"));
  ASSIGN_OR_RETURN(create.system, string_field(json, "system"));
  ASSIGN_OR_RETURN(create.renderer, string_field(json, "renderer"));
  ASSIGN_OR_RETURN(create.parser, string_field(json, "parser"));
  ASSIGN_OR_RETURN(create.requires_version, string_field(json, "requires"));
  if (const Json* license = find_field(json, "license"); license != nullptr) {
    create.licenses.emplace();
    if (license->is_string()) create.licenses->push_back(license->get<std::string>());
    if (license->is_array())
      for (const Json& text : *license)
        if (text.is_string()) create.licenses->push_back(text.get<std::string>());
  }
  if (const Json* parameters = find_field(json, "parameters"); parameters != nullptr) {
    if (!parameters->is_object()) return invalid("'parameters' must be of type object");
    create.parameters = *parameters;
    if (auto stop = create.parameters.find("stop"); stop != create.parameters.end() && stop->is_string())
      *stop = Json::array({*stop});
    RETURN_IF_ERROR(parse_ollama_options(create.parameters));
  }
  if (const Json* messages = find_field(json, "messages"); messages != nullptr) {
    if (!messages->is_array()) return invalid("'messages' must be of type array");
    create.messages.emplace();
    for (const Json& message : *messages) {
      ASSIGN_OR_RETURN(const auto role, string_field(message, "role"));
      ASSIGN_OR_RETURN(const auto content, string_field(message, "content"));
      if (role != "system" && role != "user" && role != "assistant")
        return invalid("'messages': a role is one of system, user, assistant");
      create.messages->push_back({role.value_or(""), content.value_or("")});
    }
  }
  return create;
}

}  // namespace spillway
