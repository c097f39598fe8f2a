// SPDX-License-Identifier: MIT
#include "serve/anthropic_tools.h"

#include <fmt/format.h>

namespace spillway {
namespace {

// A tool whose name and arguments their documentation gives: the client runs it, the model knows it.
struct PublicTool {
  const char *type, *name, *description, *parameters;
};

constexpr PublicTool kPublicTools[] =
    {
        {"bash_", "bash", "Runs a command in a bash shell that lives on between calls.",
         R"({"type":"object","properties":{"command":{"type":"string","description":"The bash command to run. Needed unless the shell is restarted."},"restart":{"type":"boolean","description":"true: start the shell anew"}}})"},
        {"text_editor_20250728", "str_replace_based_edit_tool", "Views, creates and edits text files.",
         R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"],"description":"What to do"},"path":{"type":"string","description":"Path of the file or folder"},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line, counted from 1; -1 is the end"},"file_text":{"type":"string","description":"create: the file's content"},"old_str":{"type":"string","description":"str_replace: the text to replace; it must occur once"},"new_str":{"type":"string","description":"str_replace: what stands there then"},"insert_line":{"type":"integer","description":"insert: the line after which; 0 is the beginning"},"insert_text":{"type":"string","description":"insert: the text"}},"required":["command","path"]})"},
        {"text_editor_20250429", "str_replace_based_edit_tool",
         "Views, creates and edits text files.", R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"],"description":"What to do"},"path":{"type":"string","description":"Path of the file or folder"},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line, counted from 1; -1 is the end"},"file_text":{"type":"string","description":"create: the file's content"},"old_str":{"type":"string","description":"str_replace: the text to replace; it must occur once"},"new_str":{"type":"string","description":"str_replace: what stands there then; insert: the text"},"insert_line":{"type":"integer","description":"insert: the line after which; 0 is the beginning"}},"required":["command","path"]})"},
        {"text_editor_", "str_replace_editor", "Views, creates and edits text files.",
         R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","undo_edit"],"description":"What to do"},"path":{"type":"string","description":"Path of the file or folder"},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line, counted from 1; -1 is the end"},"file_text":{"type":"string","description":"create: the file's content"},"old_str":{"type":"string","description":"str_replace: the text to replace; it must occur once"},"new_str":{"type":"string","description":"str_replace: what stands there then; insert: the text"},"insert_line":{"type":"integer","description":"insert: the line after which; 0 is the beginning"}},"required":["command","path"]})"},
        {"memory_", "memory",
         "Keeps notes in files below /memories, which outlive this conversation.", R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"],"description":"What to do"},"path":{"type":"string","description":"Path of the file or folder"},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line"},"file_text":{"type":"string","description":"create: the file's content"},"old_str":{"type":"string","description":"str_replace: the text to replace"},"new_str":{"type":"string","description":"str_replace: what stands there then"},"insert_line":{"type":"integer","description":"insert: the line after which"},"insert_text":{"type":"string","description":"insert: the text"},"old_path":{"type":"string","description":"rename: from"},"new_path":{"type":"string","description":"rename: to"}},"required":["command"]})"},
};

Result<std::string> type_of(const Json& tool) {
  ASSIGN_OR_RETURN(const auto type, string_field(tool, "type"));
  return type.value_or("custom");
}

}  // namespace

Result<std::optional<Tool>> anthropic_tool(const Json& tool, const std::string& place) {
  ASSIGN_OR_RETURN(const std::string type, type_of(tool));
  ASSIGN_OR_RETURN(const auto name, string_field(tool, "name"));
  const Json* schema = find_field(tool, "input_schema");
  if (schema == nullptr) {
    for (const PublicTool& known : kPublicTools)
      if (type.starts_with(known.type))
        return Tool{
            .name = name.value_or(known.name), .description = known.description, .parameters = known.parameters};
    if (type.starts_with("computer_") || type.starts_with("browser_"))
      return invalid(fmt::format("{}: '{}' needs a model that sees the screen, and none here does", place, type));
    if (type == "mcp_toolset")
      return invalid(place + ": mcp_toolset: MCP servers are the client's to connect to; offer their tools");
    if (type == "custom") return invalid(place + ": input_schema: field required");
    return std::nullopt;
  }
  if (!name || name->empty()) return invalid(place + ": name: field required");
  if (!schema->is_object()) return invalid(place + ": input_schema must be an object");
  ASSIGN_OR_RETURN(const auto description, string_field(tool, "description"));
  Tool offered{.name = *name, .description = description.value_or(""), .parameters = to_text(*schema)};
  if (const Json* examples = find_field(tool, "input_examples"); examples != nullptr && examples->is_array())
    for (const Json& example : *examples) offered.description += "\nExample: " + to_text(example);
  return offered;
}

Result<void> read_anthropic_tools(const Json& json, Toolbox& tools, Call& call) {
  const Json* list = find_field(json, "tools");
  if (list == nullptr) return {};
  if (!list->is_array()) return invalid("tools: must be an array");
  bool searches = false;
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& tool = (*list)[i];
    const std::string place = fmt::format("tools.{}", i);
    if (!tool.is_object()) return invalid(place + ": must be an object");
    ASSIGN_OR_RETURN(auto offered, anthropic_tool(tool, place));
    ASSIGN_OR_RETURN(const auto waits, bool_field(tool, "defer_loading"));
    if (!offered) {
      ASSIGN_OR_RETURN(const std::string type, type_of(tool));
      searches = searches || type.starts_with("tool_search_tool_");
      if (!type.starts_with("tool_search_tool_")) call.not_applied.push_back("tools: " + type);
      continue;
    }
    ASSIGN_OR_RETURN(const auto strict, bool_field(tool, "strict"));
    if (strict.value_or(false)) call.strict_tools.push_back(offered->name);
    RETURN_IF_ERROR(tools.add(std::move(*offered), waits.value_or(false)));
  }
  if (searches) tools.list_all();
  return {};
}

Result<void> read_anthropic_choice(const Json& json, Toolbox& tools, Call& call) {
  ASSIGN_OR_RETURN(const Json* choice, object_field(json, "tool_choice"));
  if (choice == nullptr) return {};
  ASSIGN_OR_RETURN(const auto type, string_field(*choice, "type"));
  if (type != "auto" && type != "none" && type != "any" && type != "tool")
    return invalid("tool_choice: type must be 'auto', 'any', 'tool' or 'none'");
  if (type == "none") call.tool_choice = ToolChoice::kNone;
  if (type == "any" || type == "tool") call.tool_choice = ToolChoice::kRequired;
  ASSIGN_OR_RETURN(const auto one_at_most, bool_field(*choice, "disable_parallel_tool_use"));
  call.several_calls = !one_at_most.value_or(false) && type != "tool";
  if (type == "tool") {
    ASSIGN_OR_RETURN(const auto name, string_field(*choice, "name"));
    tools.restrict_to([&](const Tool& tool) { return tool.name == name.value_or(""); });
    if (!tools.any_callable()) tools.list(name.value_or(""));
    if (!tools.any_callable()) return invalid("tool_choice: there is no tool of this name");
  }
  if (type == "any" && !tools.any_callable()) return invalid("tool_choice: there are no tools");
  return {};
}

}  // namespace spillway
