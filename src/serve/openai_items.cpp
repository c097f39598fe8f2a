// SPDX-License-Identifier: MIT
#include "serve/openai_items.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json_reader.h"
#include "serve/call_json.h"
#include "serve/openai_common.h"
#include "serve/openai_tools.h"
#include "serve/part_text.h"

namespace spillway {
namespace {

// Of tools that their service runs: what they did is known from these.
constexpr std::array kHostedItems = {
    "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call",
    "mcp_call",        "mcp_list_tools",   "mcp_approval_request",  "mcp_approval_response",
    "computer_call",   "program",          "program_output"};

Message message_of(std::string role) {
  Message message;
  message.role = std::move(role);
  return message;
}

Result<std::string> text_field(const Json& item, const char* name) {
  ASSIGN_OR_RETURN(const auto text, string_field(item, name));
  return text.value_or("");
}

Json field_or(const Json& json, const char* name, const Json& otherwise) {
  const Json* field = find_field(json, name);
  return field != nullptr ? *field : otherwise;
}

class ItemReader {
 public:
  ItemReader(Toolbox& tools, Call& call) : tools_(tools), call_(call), messages_(call.messages) {}

  Result<void> read(const Json& item) {
    if (!item.is_object()) return invalid("each item of 'input' must be an object");
    ASSIGN_OR_RETURN(const auto type, string_field(item, "type"));
    const std::string kind = type.value_or(find_field(item, "role") != nullptr ? "message" : "item_reference");
    if (kind == "message") return read_message(item);
    if (kind == "reasoning") return read_reasoning(item);
    if (kind == "function_call") return read_call(item, arguments_text(find_field(item, "arguments")));
    if (kind == "custom_tool_call") {
      ASSIGN_OR_RETURN(const std::string input, text_field(item, "input"));
      return read_call(item, arguments_of_custom_call(input));
    }
    if (kind == "local_shell_call" || kind == "shell_call")
      return add_call(item, kind.substr(0, kind.size() - 5), field_or(item, "action", Json::object()));
    if (kind == "apply_patch_call") return add_call(item, "apply_patch", field_or(item, "operation", Json::object()));
    if (kind == "tool_search_call" && find_field(item, "call_id") != nullptr)
      return add_call(item, "tool_search", field_or(item, "arguments", Json::object()));
    if (kind == "tool_search_output") return read_found_tools(item);
    if (kind == "additional_tools") return read_additional_tools(item);
    if (kind.ends_with("_output") && kind != "program_output") return read_output(item);
    if (kind == "configuration_update") return read_configuration(item);
    if (kind == "agent_message") return read_agent_message(item);
    if (kind == "item_reference") return invalid("input: an item_reference: nothing is stored here; send the item");
    if (kind.starts_with("compaction"))
      return invalid(
          fmt::format("input: an item of type {} can be made and read by its service alone; "
                      "ask for a summary and send that",
                      kind.substr(0, 40)));
    if (kind == "tool_search_call" || std::find(kHostedItems.begin(), kHostedItems.end(), kind) != kHostedItems.end()) {
      Json told = readable(item);
      for (const char* name : {"type", "id", "status"}) told.erase(name);
      append_part(assistant_turn().content, fmt::format("[{}: {}]", kind, to_text(told)));
      return {};
    }
    return invalid(fmt::format("input: unknown item type '{}'", kind.substr(0, 40)));
  }

 private:
  // Calls and thoughts of one turn are items of their own; the template wants them in one message.
  Message& assistant_turn() {
    if (messages_.empty() || messages_.back().role != "assistant") messages_.push_back(message_of("assistant"));
    return messages_.back();
  }

  Result<void> read_message(const Json& item) {
    ASSIGN_OR_RETURN(std::string role, text_field(item, "role"));
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant")
      return invalid(fmt::format("input: invalid role '{}'", role.substr(0, 40)));
    Message message = message_of(role);
    ASSIGN_OR_RETURN(message.content, parse_openai_content(find_field(item, "content"), role, message));
    if (role == "assistant" && !messages_.empty() && messages_.back().role == role &&
        messages_.back().tool_calls.empty())
      append_part(messages_.back().content, message.content);
    else
      messages_.push_back(std::move(message));
    return {};
  }

  Result<void> read_reasoning(const Json& item) {
    Message ignored;
    const Json* content = find_field(item, "content");
    if (content == nullptr || content->empty()) content = find_field(item, "summary");
    ASSIGN_OR_RETURN(const std::string thought, parse_openai_content(content, "assistant", ignored));
    if (thought.empty() && find_field(item, "encrypted_content") != nullptr)
      call_.not_applied.emplace_back("reasoning.encrypted_content");
    if (!thought.empty()) append_part(assistant_turn().thinking, thought);
    return {};
  }

  Result<void> read_call(const Json& item, std::string arguments) {
    ASSIGN_OR_RETURN(const std::string name, text_field(item, "name"));
    ASSIGN_OR_RETURN(const std::string name_space, text_field(item, "namespace"));
    ASSIGN_OR_RETURN(const std::string id, text_field(item, "call_id"));
    assistant_turn().tool_calls.push_back(
        {.id = id, .name = flat_name(name_space, name), .arguments = std::move(arguments)});
    return {};
  }

  Result<void> add_call(const Json& item, const std::string& name, Json arguments) {
    ASSIGN_OR_RETURN(std::string id, text_field(item, "call_id"));
    if (id.empty()) {
      ASSIGN_OR_RETURN(id, text_field(item, "id"));
    }
    if (!arguments.is_object()) arguments = Json::object();
    if (name == "local_shell") arguments.erase("type");
    assistant_turn().tool_calls.push_back({.id = id, .name = name, .arguments = to_text(arguments)});
    return {};
  }

  Result<void> read_output(const Json& item) {
    Message message = message_of("tool");
    ASSIGN_OR_RETURN(message.tool_call_id, text_field(item, "call_id"));
    if (message.tool_call_id.empty()) {
      ASSIGN_OR_RETURN(message.tool_call_id, text_field(item, "id"));
    }
    const Json* output = find_field(item, "output");
    const bool of_parts = output != nullptr && output->is_array() && !output->empty() && output->front().is_object() &&
                          find_field(output->front(), "type") != nullptr;
    if (output == nullptr || output->is_string() || of_parts) {
      ASSIGN_OR_RETURN(message.content, parse_openai_content(output, "tool", message));
    } else {
      message.content = to_text(readable(*output));  // of a shell: stdout, stderr and how it ended
    }
    ASSIGN_OR_RETURN(const std::string status, text_field(item, "status"));
    if (status == "failed") message.content = "Error: " + message.content;
    messages_.push_back(std::move(message));
    return {};
  }

  Result<std::string> enable_tools(const Json& item) {
    const Json* list = find_field(item, "tools");
    if (list == nullptr) return invalid("input: an item that adds tools needs 'tools'");
    ASSIGN_OR_RETURN(const auto names, add_openai_tools(*list, true, tools_, call_));
    std::string all;
    for (const std::string& name : names) append_part(all, tools_.enable(name));
    return all;
  }

  Result<void> read_found_tools(const Json& item) {
    Message message = message_of("tool");
    ASSIGN_OR_RETURN(message.tool_call_id, text_field(item, "call_id"));
    ASSIGN_OR_RETURN(message.content, enable_tools(item));
    if (message.content.empty()) message.content = "No tools were found.";
    // Of a search that their service made there is no call to answer.
    if (message.tool_call_id.empty())
      append_part(assistant_turn().content, message.content);
    else
      messages_.push_back(std::move(message));
    return {};
  }

  Result<void> read_additional_tools(const Json& item) {
    Message message = message_of("system");
    ASSIGN_OR_RETURN(message.content, enable_tools(item));
    if (!message.content.empty()) messages_.push_back(std::move(message));
    return {};
  }

  // What one of several agents wrote to another one.
  Result<void> read_agent_message(const Json& item) {
    Message message = message_of("user");
    ASSIGN_OR_RETURN(const std::string author, text_field(item, "author"));
    ASSIGN_OR_RETURN(const std::string recipient, text_field(item, "recipient"));
    ASSIGN_OR_RETURN(const std::string text, parse_openai_content(find_field(item, "content"), "tool", message));
    message.content = fmt::format("[message from {} to {}]\n{}", author, recipient, text);
    messages_.push_back(std::move(message));
    return {};
  }

  Result<void> read_configuration(const Json& item) {
    ASSIGN_OR_RETURN(const Json* reasoning, object_field(item, "reasoning"));
    if (reasoning != nullptr) {
      ASSIGN_OR_RETURN(const auto effort, string_field(*reasoning, "effort"));
      if (effort) call_.think = *effort != "none";
      if (effort && *effort != "none") call_.effort = effort_level(*effort);
    }
    if (find_field(item, "text") != nullptr) call_.not_applied.emplace_back("configuration_update.text");
    return {};
  }

  Toolbox& tools_;
  Call& call_;
  std::vector<Message>& messages_;
};

ToolOrigin origin_of(const Call& call, const ToolCall& tool_call) {
  const auto found = call.origins.find(tool_call.name);
  return found != call.origins.end()
             ? found->second
             : ToolOrigin{.kind = ToolKind::kFunction, .name = tool_call.name, .name_space = {}};
}

}  // namespace

Result<void> read_response_items(const Json& items, Toolbox& tools, Call& call) {
  ItemReader reader(tools, call);
  for (const Json& item : items) RETURN_IF_ERROR(reader.read(item));
  name_tool_results(call.messages);
  return {};
}

const char* item_prefix(const Call& call, const ToolCall& tool_call) {
  switch (origin_of(call, tool_call).kind) {
    case ToolKind::kFunction:
      break;
    case ToolKind::kCustom:
      return "ctc";
    case ToolKind::kLocalShell:
      return "lsh";
    case ToolKind::kShell:
      return "sh";
    case ToolKind::kApplyPatch:
      return "apc";
    case ToolKind::kToolSearch:
      return "tsc";
  }
  return "fc";
}

Json item_of_call(const Call& call, const ToolCall& tool_call, const std::string& item_id, const char* status) {
  const ToolOrigin origin = origin_of(call, tool_call);
  Json arguments = json_or_null(tool_call.arguments);
  if (!arguments.is_object()) arguments = Json::object();
  Json item = {{"id", item_id}, {"type", "function_call"}, {"status", status}, {"call_id", tool_call.id}};
  switch (origin.kind) {
    case ToolKind::kFunction:
      item.update({{"name", origin.name}, {"arguments", tool_call.arguments}});
      break;
    case ToolKind::kCustom:
      item.update({{"type", "custom_tool_call"}, {"name", origin.name}, {"input", input_of_custom_call(tool_call)}});
      break;
    case ToolKind::kLocalShell:
      item["type"] = "local_shell_call";
      item["action"] = {{"type", "exec"},
                        {"command", field_or(arguments, "command", Json::array())},
                        {"env", field_or(arguments, "env", Json::object())},
                        {"timeout_ms", field_or(arguments, "timeout_ms", nullptr)},
                        {"user", nullptr},
                        {"working_directory", field_or(arguments, "working_directory", nullptr)}};
      break;
    case ToolKind::kShell:
      item["type"] = "shell_call";
      item["action"] = {{"commands", field_or(arguments, "commands", Json::array())},
                        {"timeout_ms", field_or(arguments, "timeout_ms", nullptr)},
                        {"max_output_length", field_or(arguments, "max_output_length", nullptr)}};
      item["environment"] = {{"type", "local"}};
      break;
    case ToolKind::kApplyPatch:
      item["type"] = "apply_patch_call";
      item["operation"] = std::move(arguments);
      break;
    case ToolKind::kToolSearch:
      item["type"] = "tool_search_call";
      item.update({{"execution", "client"}, {"arguments", std::move(arguments)}});
      break;
  }
  if (!origin.name_space.empty()) item["namespace"] = origin.name_space;
  return item;
}

}  // namespace spillway
