// SPDX-License-Identifier: MIT
#include "serve/anthropic_content.h"

#include <fmt/format.h>

#include <algorithm>

#include "serve/anthropic_tools.h"
#include "serve/call_json.h"
#include "serve/message_images.h"
#include "serve/part_text.h"

namespace spillway {
namespace {

const std::string kSignature = "spillway.";

Result<std::string> text_field(const Json& block, const char* name) {
  ASSIGN_OR_RETURN(const auto text, string_field(block, name));
  return text.value_or("");
}

class Reader {
 public:
  Reader(Toolbox& tools, Call& call) : tools_(tools), call_(call) {}

  Result<void> read(const Json& messages) {
    const size_t last_user = place_of_last_user(messages);
    for (size_t i = 0; i < messages.size(); ++i) {
      place_ = fmt::format("messages.{}", i);
      if (!messages[i].is_object()) return invalid(place_ + ": must be an object");
      RETURN_IF_ERROR(read_message(messages[i], i < last_user && is_cleared(messages[i])));
    }
    name_tool_results(call_.messages);
    return {};
  }

 private:
  // 0: there is none, or nothing before it.
  static size_t place_of_last_user(const Json& messages) {
    for (size_t i = messages.size(); i-- > 0;) {
      const Json* role = messages[i].is_object() ? find_field(messages[i], "role") : nullptr;
      if (role != nullptr && *role == "user") return i;
    }
    return 0;
  }

  // A system message may say that it ends with the next message of the user.
  static bool is_cleared(const Json& message) {
    const Json* until = find_field(message, "clear_at");
    return until != nullptr && *until == "next_user_message";
  }

  // One of their messages may be several of ours: results of tools are messages of their own.
  Result<void> read_message(const Json& json, bool cleared) {
    ASSIGN_OR_RETURN(const auto role, string_field(json, "role"));
    if (role != "user" && role != "assistant" && role != "system")
      return invalid(place_ + ": role must be 'user', 'assistant' or 'system'");
    ASSIGN_OR_RETURN(const Json* output, object_field(json, "output_config"));
    if (output != nullptr) {
      ASSIGN_OR_RETURN(const auto effort, string_field(*output, "effort"));
      if (effort) call_.effort = effort_level(*effort);
    }
    const Json* content = find_field(json, "content");
    if (content == nullptr && output != nullptr && role == "system") return {};
    if (content == nullptr) return invalid(place_ + ": content is required");
    Message message;
    message.role = *role;
    if (content->is_string()) {
      message.content = content->get<std::string>();
      if (!cleared) call_.messages.push_back(std::move(message));
      return {};
    }
    if (!content->is_array()) return invalid(place_ + ": content must be a string or an array of blocks");
    const size_t n_before = call_.messages.size();
    for (size_t i = 0; i < content->size(); ++i) {
      const std::string place = fmt::format("{}.content.{}", place_, i);
      if (!(*content)[i].is_object()) return invalid(place + ": must be an object");
      RETURN_IF_ERROR(read_block((*content)[i], place, message));
    }
    const bool says_something = !message.content.empty() || !message.thinking.empty() || !message.tool_calls.empty();
    if (!cleared && (says_something || call_.messages.size() == n_before)) call_.messages.push_back(std::move(message));
    return {};
  }

  Result<void> read_block(const Json& block, const std::string& place, Message& message) {
    ASSIGN_OR_RETURN(const std::string kind, text_field(block, "type"));
    if (kind == "text") {
      ASSIGN_OR_RETURN(const std::string text, text_field(block, "text"));
      // What their models write is cut in blocks anywhere, where a source is named; what others write, where a part
      // ends.
      if (message.role == "assistant")
        message.content += text;
      else
        append_part(message.content, text);
    } else if (kind == "thinking") {
      ASSIGN_OR_RETURN(std::string thinking, text_field(block, "thinking"));
      ASSIGN_OR_RETURN(const std::string signature, text_field(block, "signature"));
      if (thinking.empty()) thinking = thought_of_signature(signature);
      message.thinking += thinking;
    } else if (kind == "redacted_thinking") {
      call_.not_applied.push_back("redacted_thinking");
    } else if (kind == "image") {
      if (message.role != "user") {
        append_part(message.content, image_text(block));
      } else {
        RETURN_IF_ERROR(read_image(block, place, message));
      }
    } else if (kind == "document") {
      ASSIGN_OR_RETURN(const std::string text, read_document(block, place, message.role == "user"));
      append_part(message.content, text);
    } else if (kind == "search_result") {
      ASSIGN_OR_RETURN(const std::string text, read_search_result(block));
      append_part(message.content, text);
    } else if (kind == "tool_use") {
      ASSIGN_OR_RETURN(const std::string id, text_field(block, "id"));
      ASSIGN_OR_RETURN(const std::string name, text_field(block, "name"));
      const Json* input = find_field(block, "input");
      message.tool_calls.push_back(
          {.id = id, .name = name, .arguments = input != nullptr && input->is_object() ? to_text(*input) : "{}"});
    } else if (kind == "tool_result") {
      return read_result(block, place);
    } else if (kind == "tool_addition" || kind == "tool_removal") {
      return read_tool_change(block, kind == "tool_addition", place, message);
    } else if (kind == "tool_search_tool_result") {
      read_found_tools(block, message);
    } else if (kind == "server_tool_use" || kind == "mcp_tool_use") {
      ASSIGN_OR_RETURN(const std::string name, text_field(block, "name"));
      const Json* input = find_field(block, "input");
      append_part(message.content, fmt::format("[{} was called: {}]", name,
                                               to_text(input != nullptr ? readable(*input) : Json::object())));
    } else if (kind == "mcp_tool_listing" || kind.ends_with("_tool_result")) {
      const Json* content = find_field(block, kind == "mcp_tool_listing" ? "tools" : "content");
      append_part(message.content,
                  fmt::format("[{}: {}]", kind, to_text(content != nullptr ? readable(*content) : Json())));
    } else if (kind == "compaction") {
      ASSIGN_OR_RETURN(const std::string summary, text_field(block, "content"));
      if (summary.empty())
        return invalid(place + ": a compaction without content was made by another service, which alone can read it");
      append_part(message.content, document_text("Summary of the conversation before", "", summary));
    } else if (kind == "container_upload") {
      return invalid(place + ": container_upload: there are no containers here; send the file's text");
    } else if (kind != "fallback") {  // which of their models answered
      return invalid(fmt::format("{}: unknown content block type '{}'", place, kind.substr(0, 40)));
    }
    return {};
  }

  Result<void> read_result(const Json& block, const std::string& place) {
    Message result;
    result.role = "tool";
    ASSIGN_OR_RETURN(result.tool_call_id, text_field(block, "tool_use_id"));
    ASSIGN_OR_RETURN(const auto is_error, bool_field(block, "is_error"));
    if (is_error.value_or(false)) result.content = "Error:";
    if (const Json* content = find_field(block, "content"); content != nullptr) {
      if (content->is_string()) {
        append_part(result.content, content->get<std::string>());
      } else if (!content->is_array()) {
        return invalid(place + ": content must be a string or an array of blocks");
      } else {
        for (size_t i = 0; i < content->size(); ++i) {
          const std::string inside = fmt::format("{}.content.{}", place, i);
          if (!(*content)[i].is_object()) return invalid(inside + ": must be an object");
          if (find_field((*content)[i], "type") != nullptr && *find_field((*content)[i], "type") == "image") {
            RETURN_IF_ERROR(read_image((*content)[i], inside, result));
            continue;
          }
          ASSIGN_OR_RETURN(const std::string text, read_result_block((*content)[i], inside));
          append_part(result.content, text);
        }
      }
    }
    call_.messages.push_back(std::move(result));
    return {};
  }

  Result<std::string> read_result_block(const Json& block, const std::string& place) {
    ASSIGN_OR_RETURN(const std::string kind, text_field(block, "type"));
    if (kind == "text") return text_field(block, "text");
    if (kind == "document") return read_document(block, place, false);
    if (kind == "search_result") return read_search_result(block);
    if (kind == "tool_reference") {
      ASSIGN_OR_RETURN(const std::string name, text_field(block, "tool_name"));
      return tools_.enable(name);
    }
    if (kind == "browser_state") return to_text(readable(block));
    return invalid(fmt::format("{}: unknown content block type '{}'", place, kind.substr(0, 40)));
  }

  // What the source is, base64 or a URL, shows when a model is there that looks at it.
  static Result<void> read_image(const Json& block, const std::string& place, Message& message) {
    ASSIGN_OR_RETURN(const Json* source, object_field(block, "source"));
    std::string data;
    if (source != nullptr) {
      ASSIGN_OR_RETURN(const std::string kind, text_field(*source, "type"));
      ASSIGN_OR_RETURN(data, text_field(*source, kind == "url" ? "url" : "data"));
    }
    append_image(message, std::move(data), place + ".image.source");
    if (source != nullptr) {
      ASSIGN_OR_RETURN(message.images.back().media, text_field(*source, "media_type"));
    }
    return {};
  }

  static std::string image_text(const Json& block) {
    const Json* source = find_field(block, "source");
    const Json* media = source != nullptr && source->is_object() ? find_field(*source, "media_type") : nullptr;
    return unseen("image", media != nullptr && media->is_string() ? media->get<std::string>() : "");
  }

  // `refuse`: where nobody could tell the user what the model does not see.
  static Result<std::string> read_document(const Json& block, const std::string& place, bool refuse) {
    ASSIGN_OR_RETURN(const std::string title, text_field(block, "title"));
    ASSIGN_OR_RETURN(const std::string context, text_field(block, "context"));
    ASSIGN_OR_RETURN(const Json* source, object_field(block, "source"));
    if (source == nullptr) return invalid(place + ".document: source is required");
    ASSIGN_OR_RETURN(const std::string kind, text_field(*source, "type"));
    if (kind == "text") {
      ASSIGN_OR_RETURN(const std::string text, text_field(*source, "data"));
      return document_text(title, context, text);
    }
    if (kind == "content") {
      const Json* content = find_field(*source, "content");
      if (content == nullptr) return invalid(place + ".document.source: content is required");
      if (content->is_string()) return document_text(title, context, content->get<std::string>());
      if (!content->is_array()) return invalid(place + ".document.source: content must be a string or an array");
      std::string all;
      for (const Json& part : *content) {
        ASSIGN_OR_RETURN(const std::string type, text_field(part, "type"));
        ASSIGN_OR_RETURN(const std::string text, text_field(part, "text"));
        append_part(all, type == "image" ? image_text(part) : text);
      }
      return document_text(title, context, all);
    }
    if (!refuse) return unseen(kind == "base64" ? "PDF" : "document", title);
    if (kind == "base64")
      return invalid(place +
                     ".document.source: Could not process PDF: this server does not support PDF input; "
                     "send the document's text");
    return invalid(fmt::format("{}.document.source: type '{}' is not supported: nothing is fetched or stored here",
                               place, kind.substr(0, 40)));
  }

  static Result<std::string> read_search_result(const Json& block) {
    ASSIGN_OR_RETURN(const std::string title, text_field(block, "title"));
    ASSIGN_OR_RETURN(const std::string source, text_field(block, "source"));
    std::string all = fmt::format("<search_result title=\"{}\" source=\"{}\">\n", title, source);
    if (const Json* content = find_field(block, "content"); content != nullptr && content->is_array())
      for (const Json& part : *content) {
        ASSIGN_OR_RETURN(const std::string text, text_field(part, "text"));
        append_part(all, text);
      }
    append_part(all, "</search_result>");
    return all;
  }

  Result<void> read_tool_change(const Json& block, bool added, const std::string& place, Message& message) {
    ASSIGN_OR_RETURN(const Json* tool, object_field(block, "tool"));
    if (tool == nullptr) return invalid(place + ": tool is required");
    ASSIGN_OR_RETURN(const std::string kind, text_field(*tool, "type"));
    if (kind == "tool_reference") {
      ASSIGN_OR_RETURN(const std::string name, text_field(*tool, "name"));
      append_part(message.content, added ? tools_.enable(name) : tools_.disable(name));
      return {};
    }
    if (kind == "tool_definition" && added) {
      ASSIGN_OR_RETURN(const Json* definition, object_field(*tool, "definition"));
      if (definition == nullptr) return invalid(place + ".tool: definition is required");
      ASSIGN_OR_RETURN(auto defined, anthropic_tool(*definition, place));
      if (!defined) {
        ASSIGN_OR_RETURN(const std::string type, text_field(*definition, "type"));
        call_.not_applied.push_back("tools: " + type);
        return {};
      }
      const std::string name = defined->name;
      RETURN_IF_ERROR(tools_.add(std::move(*defined), true));
      append_part(message.content, tools_.enable(name));
      return {};
    }
    return invalid(fmt::format("{}.tool: type '{}' is not supported", place, kind.substr(0, 40)));
  }

  void read_found_tools(const Json& block, Message& message) {
    const Json* content = find_field(block, "content");
    const Json* found = content != nullptr && content->is_object() ? find_field(*content, "tool_references") : nullptr;
    if (found == nullptr || !found->is_array()) return;
    for (const Json& reference : *found)
      if (const Json* name = reference.is_object() ? find_field(reference, "tool_name") : nullptr;
          name != nullptr && name->is_string())
        append_part(message.content, tools_.enable(name->get<std::string>()));
  }

  Toolbox& tools_;
  Call& call_;
  std::string place_;
};

}  // namespace

Result<void> read_anthropic_messages(const Json& messages, Toolbox& tools, Call& call) {
  return Reader(tools, call).read(messages);
}

Result<std::string> read_anthropic_system(const Json& system) {
  if (system.is_string()) return system.get<std::string>();
  if (!system.is_array()) return invalid("system: must be a string or an array of text blocks");
  std::string all;
  for (const Json& block : system) {
    if (!block.is_object()) return invalid("system: each block must be an object");
    ASSIGN_OR_RETURN(const std::string kind, text_field(block, "type"));
    if (!kind.empty() && kind != "text")
      return invalid(fmt::format("system: a block of type '{}' is no text", kind.substr(0, 40)));
    ASSIGN_OR_RETURN(const std::string text, text_field(block, "text"));
    // What Claude Code tells the service's accounting. It differs from one session to the next, and all that follows
    // would have to be computed again.
    if (text.starts_with("x-anthropic-billing-header:")) continue;
    append_part(all, text);
  }
  return all;
}

std::string signature_of_thought(const std::string& thought) { return kSignature + base64(thought); }

std::string thought_of_signature(std::string_view signature) {
  if (!signature.starts_with(kSignature)) return "";
  return bytes_of_base64(signature.substr(kSignature.size())).value_or("");
}

}  // namespace spillway
