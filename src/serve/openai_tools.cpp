// SPDX-License-Identifier: MIT
#include "serve/openai_tools.h"

#include <fmt/format.h>

#include <set>
#include <string_view>

#include "base/json_reader.h"
#include "chat/json_text.h"
#include "serve/call_json.h"

namespace spillway {
namespace {

// Tools whose schema is public: the client runs them, and has no schema of its own to send.
constexpr const char* kLocalShell =
    R"({"type":"object","properties":{"command":{"type":"array","items":{"type":"string"},"description":"The program and its arguments"},"working_directory":{"type":"string"},"timeout_ms":{"type":"integer","minimum":1}},"required":["command"]})";
constexpr const char* kShell =
    R"({"type":"object","properties":{"commands":{"type":"array","items":{"type":"string"},"minItems":1,"description":"Shell commands, run one after the other"},"timeout_ms":{"type":"integer","minimum":1},"max_output_length":{"type":"integer","minimum":1}},"required":["commands"]})";
constexpr const char* kApplyPatch =
    R"({"type":"object","properties":{"type":{"type":"string","enum":["create_file","update_file","delete_file"]},"path":{"type":"string"},"diff":{"type":"string","description":"What changes, as a V4A diff; not for delete_file"}},"required":["type","path"]})";
constexpr const char* kToolSearch =
    R"({"type":"object","properties":{"query":{"type":"string","description":"What the tool should do"}},"required":["query"]})";
constexpr const char* kCustom =
    R"({"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false})";

class ToolReader {
 public:
  ToolReader(Toolbox& tools, Call& call) : tools_(tools), call_(call) {}

  Result<void> read(const Json& list, bool waits, const std::string& name_space, const std::string& about) {
    if (!list.is_array()) return invalid("'tools' must be of type array");
    std::string introduction = about;
    for (const Json& tool : list) {
      if (!tool.is_object()) return invalid("each of 'tools' must be an object");
      RETURN_IF_ERROR(read_one(tool, waits, name_space, introduction));
      introduction.clear();  // what a namespace is for is said once
    }
    return {};
  }
  std::vector<std::string> names() && { return std::move(names_); }

 private:
  Result<void> read_one(const Json& tool, bool waits, const std::string& name_space, const std::string& about) {
    ASSIGN_OR_RETURN(const auto type_name, string_field(tool, "type"));
    const std::string type = type_name.value_or("function");
    ASSIGN_OR_RETURN(const auto deferred, bool_field(tool, "defer_loading"));
    waits = waits || deferred.value_or(false);
    if (type == "namespace") {
      ASSIGN_OR_RETURN(const auto name, string_field(tool, "name"));
      ASSIGN_OR_RETURN(const auto description, string_field(tool, "description"));
      const Json* inner = find_field(tool, "tools");
      if (!name || name->empty() || inner == nullptr)
        return invalid("a tool of type namespace needs 'name' and 'tools'");
      if (name->size() > kToolNameBytesMax)  // it comes to stand before each name within
        return invalid(fmt::format("a namespace of {} bytes; {} are the most", name->size(), kToolNameBytesMax));
      return read(*inner, waits, *name, description.value_or(""));
    }
    if (type == "function") {
      const Json* function = find_field(tool, "function");
      if (function == nullptr) function = &tool;
      ASSIGN_OR_RETURN(Tool offered, parse_function(*function));
      ASSIGN_OR_RETURN(const auto strict, bool_field(*function, "strict"));
      if (strict.value_or(false)) call_.strict_tools.push_back(flat_name(name_space, offered.name));
      return add(std::move(offered), ToolKind::kFunction, name_space, about, waits);
    }
    if (type == "custom") {
      const Json* custom = find_field(tool, "custom");
      return read_custom(custom != nullptr ? *custom : tool, name_space, about, waits);
    }
    if (type == "local_shell")
      return add({.name = "local_shell", .description = "Runs a program.", .parameters = kLocalShell},
                 ToolKind::kLocalShell, "", "", waits);
    if (type == "shell" && !is_hosted(tool))
      return add({.name = "shell", .description = "Runs shell commands.", .parameters = kShell}, ToolKind::kShell, "",
                 "", waits);
    if (type == "apply_patch")
      return add(
          {.name = "apply_patch", .description = "Creates, changes or deletes a file.", .parameters = kApplyPatch},
          ToolKind::kApplyPatch, "", "", waits);
    if (type == "tool_search") return read_search(tool);
    if (type == "mcp")
      return invalid("tools of type mcp: MCP servers are the client's to connect to; offer their tools");
    if (type.starts_with("computer"))
      return invalid(
          fmt::format("tools of type {} need a model that sees the screen, and none here does", type.substr(0, 40)));
    call_.not_applied.push_back("tools: " + type);  // their service would run it
    return {};
  }

  static bool is_hosted(const Json& shell) {
    const Json* environment = find_field(shell, "environment");
    const Json* type = environment != nullptr && environment->is_object() ? find_field(*environment, "type") : nullptr;
    return type != nullptr && *type != "local";
  }

  // What its one text must look like can be said to the model; a grammar of another notation cannot be made to hold.
  Result<void> read_custom(const Json& custom, const std::string& name_space, const std::string& about, bool waits) {
    ASSIGN_OR_RETURN(const auto name, string_field(custom, "name"));
    ASSIGN_OR_RETURN(const auto description, string_field(custom, "description"));
    if (!name || name->empty()) return invalid("a tool of type custom needs a 'name'");
    Tool tool{.name = *name, .description = description.value_or(""), .parameters = kCustom};
    ASSIGN_OR_RETURN(const Json* format, object_field(custom, "format"));
    if (format != nullptr) {
      const Json* grammar = find_field(*format, "grammar");
      if (grammar == nullptr || !grammar->is_object()) grammar = format;
      ASSIGN_OR_RETURN(const auto definition, string_field(*grammar, "definition"));
      ASSIGN_OR_RETURN(const auto syntax, string_field(*grammar, "syntax"));
      if (definition) {
        tool.description += fmt::format("\nThe input follows this {} grammar:\n{}", syntax.value_or(""), *definition);
        call_.not_applied.push_back(fmt::format("tools: format of {}", name->substr(0, 80)));
      }
    }
    return add(std::move(tool), ToolKind::kCustom, name_space, about, waits);
  }

  // One that the client runs is a tool like others. Where their service would search, all is listed.
  Result<void> read_search(const Json& tool) {
    ASSIGN_OR_RETURN(const auto execution, string_field(tool, "execution"));
    if (execution != "client") {
      call_.list_waiting_tools = true;
      return {};
    }
    ASSIGN_OR_RETURN(const auto description, string_field(tool, "description"));
    const Json* parameters = find_field(tool, "parameters");
    return add({.name = "tool_search",
                .description = description.value_or("Finds tools that are not listed."),
                .parameters = parameters != nullptr && parameters->is_object() ? to_text(*parameters) : kToolSearch},
               ToolKind::kToolSearch, "", "", false);
  }

  Result<void> add(Tool tool, ToolKind kind, const std::string& name_space, const std::string& about, bool waits) {
    ToolOrigin origin{.kind = kind, .name = tool.name, .name_space = name_space};
    tool.name = flat_name(name_space, tool.name);
    if (!about.empty()) tool.description = about + "\n" + tool.description;
    names_.push_back(tool.name);
    if (kind != ToolKind::kFunction || !name_space.empty()) call_.origins[tool.name] = std::move(origin);
    return tools_.add(std::move(tool), waits);
  }

  Toolbox& tools_;
  Call& call_;
  std::vector<std::string> names_;
};

// The tool that an object with type and name means; empty: none that could be called here.
Result<std::string> named_tool(const Json& choice) {
  ASSIGN_OR_RETURN(const auto type, string_field(choice, "type"));
  const std::string kind = type.value_or("function");
  if (kind == "local_shell" || kind == "shell" || kind == "apply_patch" || kind == "tool_search") return kind;
  if (kind != "function" && kind != "custom") return std::string();
  const Json* inner = find_field(choice, kind);
  if (inner == nullptr || !inner->is_object()) inner = &choice;
  ASSIGN_OR_RETURN(const auto name, string_field(*inner, "name"));
  ASSIGN_OR_RETURN(const auto name_space, string_field(*inner, "namespace"));
  if (!name) return invalid("'tool_choice' names no function");
  return flat_name(name_space.value_or(""), *name);
}

Result<void> restrict_to(const std::vector<std::string>& names, Toolbox& tools) {
  const std::set<std::string_view> allowed(names.begin(), names.end());  // no hashes: a client chooses the names
  tools.restrict_to([&](const Tool& tool) { return allowed.contains(tool.name); });
  if (tools.any_callable()) return {};
  return invalid(fmt::format("tool_choice: there is no tool '{}'", names.empty() ? "" : names.front().substr(0, 80)));
}

Result<void> read_mode(const std::string& mode, const Toolbox& tools, Call& call) {
  if (mode == "none")
    call.tool_choice = ToolChoice::kNone;
  else if (mode == "required")
    call.tool_choice = ToolChoice::kRequired;
  else if (mode != "auto")
    return invalid(fmt::format("invalid tool_choice '{}'; it is one of none, auto, required", mode.substr(0, 40)));
  if (mode == "required" && !tools.any_callable())
    return invalid("'tool_choice' requires a call, and there are no tools");
  return {};
}

}  // namespace

std::string flat_name(const std::string& name_space, const std::string& name) {
  if (name_space.empty()) return name;
  return name_space + (name_space.ends_with("__") ? "" : "__") + name;
}

Result<std::vector<std::string>> add_openai_tools(const Json& list, bool waits, Toolbox& tools, Call& call) {
  ToolReader reader(tools, call);
  RETURN_IF_ERROR(reader.read(list, waits, "", ""));
  return std::move(reader).names();
}

Result<void> read_openai_choice(const Json& json, Toolbox& tools, Call& call) {
  ASSIGN_OR_RETURN(const auto several, bool_field(json, "parallel_tool_calls"));
  call.several_calls = several.value_or(true);
  const Json* choice = find_field(json, "tool_choice");
  if (choice == nullptr) return {};
  if (choice->is_string()) return read_mode(choice->get<std::string>(), tools, call);
  if (!choice->is_object()) return invalid("'tool_choice' must be a string or an object");
  ASSIGN_OR_RETURN(const auto type, string_field(*choice, "type"));
  if (type == "allowed_tools") {
    const Json* inner = find_field(*choice, "allowed_tools");
    if (inner == nullptr || !inner->is_object()) inner = choice;
    ASSIGN_OR_RETURN(const auto mode, string_field(*inner, "mode"));
    const Json* list = find_field(*inner, "tools");
    if (list == nullptr || !list->is_array()) return invalid("'tool_choice' of type allowed_tools needs 'tools'");
    std::vector<std::string> names;
    for (const Json& allowed : *list) {
      if (!allowed.is_object()) return invalid("each of the allowed tools must be an object");
      ASSIGN_OR_RETURN(std::string name, named_tool(allowed));
      if (!name.empty()) names.push_back(std::move(name));
    }
    RETURN_IF_ERROR(restrict_to(names, tools));
    return read_mode(mode.value_or("auto"), tools, call);
  }
  ASSIGN_OR_RETURN(const std::string name, named_tool(*choice));
  if (name.empty())
    return invalid(fmt::format("tool_choice: tools of type {} are not run here", type.value_or("").substr(0, 40)));
  tools.list(name);
  RETURN_IF_ERROR(restrict_to({name}, tools));
  call.tool_choice = ToolChoice::kRequired;
  call.several_calls = false;
  return {};
}

std::string input_of_custom_call(const ToolCall& call) {
  const Json arguments = json_or_null(call.arguments);
  const Json* input = arguments.is_object() ? find_field(arguments, "input") : nullptr;
  return input != nullptr && input->is_string() ? input->get<std::string>() : call.arguments;
}

std::string arguments_of_custom_call(const std::string& input) { return "{\"input\":" + json_string(input) + "}"; }

}  // namespace spillway
