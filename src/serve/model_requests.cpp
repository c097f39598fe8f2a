// SPDX-License-Identifier: MIT
#include "serve/model_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "model/modelfile.h"
#include "serve/ollama_options.h"
#include "serve/template_check.h"

namespace spillway {

Result<std::string> model_field(const Json& json) {
  for (const char* name : {"model", "name"}) {
    ASSIGN_OR_RETURN(const auto value, string_field(json, name));
    if (value && !value->empty()) return *value;
  }
  return invalid("model is required");
}

namespace {

// Fields that say what this server will not do, and what does it instead. They are refused: a model that is silently
// another one than was asked for helps nobody.
constexpr std::pair<const char*, const char*> kRefusedFields[] = {
    {"quantize", "use llama-quantize, and create with what it writes"},
    {"quantization", "use llama-quantize, and create with what it writes"},
    {"draft_quantize", "use llama-quantize, and create with what it writes"},
    {"draft_files", "a draft model is not part of another one here"},
    {"remote_host", "this server has no cloud models"},
    {"path", "send the Modelfile itself, as 'modelfile'"},
    {"info", "what a GGUF file says of itself holds"},
};
constexpr const char* kUsedFields[] = {"model",    "name",     "stream", "from",     "files",
                                       "adapters", "template", "system", "license",  "parameters",
                                       "messages", "renderer", "parser", "requires", "modelfile"};

bool is_given(const Json& json, const char* name) {
  const Json* value = find_field(json, name);
  if (value == nullptr || value->empty() || *value == false) return false;
  return !value->is_string() || !value->get_ref<const std::string&>().empty();
}

Result<void> refuse_fields(const Json& json) {
  for (const auto& [name, instead] : kRefusedFields)
    if (is_given(json, name)) return error(Code::kUnsupported, fmt::format("'{}' is not supported; {}", name, instead));
  return {};
}

// What older clients send instead of fields. A path would be one of this machine: only names and blobs that were sent.
Result<void> take_modelfile(const Json& json, CreateRequest& create) {
  ASSIGN_OR_RETURN(const auto text, string_field(json, "modelfile"));
  if (!text || text->empty()) return {};
  auto parsed = parse_modelfile(*text);
  if (!parsed) return Failure(parsed.error());
  create = std::move(*parsed);
  for (std::string& path : std::exchange(create.adapter_paths, {})) {
    if (!path.starts_with('@'))
      return invalid(
          fmt::format("ADAPTER {}: a file is sent as a blob, and named ADAPTER @sha256:...", path.substr(0, 80)));
    create.adapter_blobs.emplace_back("adapter.gguf", path.substr(1));
  }
  if (!create.projector.empty() && !create.projector.starts_with('@'))
    return invalid(
        fmt::format("FROM {}: a file is sent as a blob, and named FROM @sha256:...", create.projector.substr(0, 80)));
  if (create.from.starts_with('@')) {
    create.blobs.emplace_back("model.gguf", std::exchange(create.from, "").substr(1));
    return {};
  }
  if (!parse_model_name(create.from))
    return invalid(fmt::format("FROM {}: is no model's name; a file is sent as a blob, and named FROM @sha256:...",
                               create.from.substr(0, 80)));
  return {};
}

Result<void> take_blobs(const Json& json, const char* field, std::vector<std::pair<std::string, std::string>>& blobs) {
  const Json* files = find_field(json, field);
  if (files == nullptr || files->is_null()) return {};
  if (!files->is_object()) return invalid(fmt::format("'{}' must be of type object", field));
  for (const auto& [name, digest] : files->items()) {
    if (!digest.is_string()) return invalid(fmt::format("'{}' maps file names to digests", field));
    blobs.emplace_back(name, digest.get<std::string>());
  }
  return {};
}

}  // namespace

std::vector<std::string> unused_in_create(const Json& json) {
  std::vector<std::string> names;
  for (const auto& [name, value] : json.items()) {
    const auto same = [&, key = &name](const char* known) { return find_field(Json{{*key, 0}}, known) != nullptr; };
    const bool refused = std::any_of(std::begin(kRefusedFields), std::end(kRefusedFields),
                                     [&](const auto& field) { return same(field.first); });
    if (!refused && std::none_of(std::begin(kUsedFields), std::end(kUsedFields), same)) names.push_back(name);
  }
  if (const Json* parameters = find_field(json, "parameters"); parameters != nullptr && parameters->is_object())
    for (const std::string& name : unused_option_names(*parameters)) names.push_back("parameter " + name);
  return names;
}

Result<void> check_template_of(const CreateRequest& create, const Asker& asker) {
  if (!create.template_text || create.template_text->empty()) return {};  // empty: the old one goes
  ASSIGN_OR_RETURN(const auto place, place_for_template(asker));
  return check_template(*create.template_text);
}

Result<CreateRequest> parse_create(const Json& json) {
  CreateRequest create;
  RETURN_IF_ERROR(refuse_fields(json));
  RETURN_IF_ERROR(take_modelfile(json, create));
  ASSIGN_OR_RETURN(const auto from, string_field(json, "from"));
  if (from && !from->empty()) create.from = *from;
  RETURN_IF_ERROR(take_blobs(json, "files", create.blobs));
  RETURN_IF_ERROR(take_blobs(json, "adapters", create.adapter_blobs));
  if (create.from.empty() && create.blobs.empty()) return invalid("neither 'from' or 'files' was specified");
  // Empty is absent: what the base has holds.
  for (const auto& [name, to] : {std::pair{"template", &create.template_text}, std::pair{"system", &create.system},
                                 std::pair{"renderer", &create.renderer}, std::pair{"parser", &create.parser},
                                 std::pair{"requires", &create.requires_version}}) {
    ASSIGN_OR_RETURN(const auto text, string_field(json, name));
    if (text && !text->empty()) *to = *text;
  }
  if (const Json* license = find_field(json, "license"); license != nullptr) {
    create.licenses.emplace();
    if (license->is_string()) create.licenses->push_back(license->get<std::string>());
    if (license->is_array())
      for (const Json& text : *license)
        if (text.is_string()) create.licenses->push_back(text.get<std::string>());
    std::erase(*create.licenses, "");
    if (create.licenses->empty()) create.licenses.reset();
  }
  ASSIGN_OR_RETURN(const Json* parameters, object_field(json, "parameters"));
  if (parameters != nullptr) {
    create.parameters = *parameters;
    if (auto stop = create.parameters.find("stop"); stop != create.parameters.end() && stop->is_string())
      *stop = Json::array({*stop});
    RETURN_IF_ERROR(parse_ollama_options(create.parameters));
    RETURN_IF_ERROR(check_parameters(create.parameters));
  }
  if (const Json* messages = find_field(json, "messages"); messages != nullptr) {
    if (!messages->is_array()) return invalid("'messages' must be of type array");
    if (messages->size() > kMessagesMax) return invalid(fmt::format("a model has at most {} messages", kMessagesMax));
    if (!messages->empty()) create.messages.emplace();
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
