// SPDX-License-Identifier: MIT
#include "serve/anthropic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "serve/anthropic_content.h"
#include "serve/anthropic_tools.h"
#include "serve/call_json.h"

namespace spillway {
namespace {

// Fields that are read below, and those that are about the request and not about its answer.
constexpr std::array kKnown = {"model",           "max_tokens",    "messages",       "stream",
                               "temperature",     "top_p",         "top_k",          "stop_sequences",
                               "system",          "tools",         "tool_choice",    "thinking",
                               "output_config",   "thread",        "mcp_servers",    "output_format",
                               "container",       "compaction",    "metadata",       "context_management",
                               "cache_control",   "betas",         "billing_policy", "diagnostics",
                               "fallbacks",       "inference_geo", "service_tier",   "fallback_credit_token",
                               "user_profile_id", "speed"};

Status no_thread() {
  return Status(Code::kInvalidArgument,
                "thread: nothing is stored here, so no conversation can be gone on with; send all of its messages")
      .with_reason("thread_unsupported_request");
}

// Whatever says that the conversation is more than its messages is refused: an answer without the rest would be one to
// another question. What else is unknown is named.
Result<void> check_fields(const Json& json, Call& call) {
  if (find_field(json, "thread") != nullptr) return Failure(no_thread());
  if (find_field(json, "compaction") != nullptr)
    return invalid("compaction: is not supported; summarise with a request");
  if (find_field(json, "container") != nullptr) return invalid("container: there are no containers here");
  if (const Json* servers = find_field(json, "mcp_servers"); servers != nullptr && !servers->empty())
    return invalid("mcp_servers: MCP servers are the client's to connect to; offer their tools");
  return check_field_names(json, {kKnown}, call);
}

// All but the last `n_kept` turns of the assistant lose their thoughts.
void clear_thinking(std::vector<Message>& messages, size_t n_kept) {
  for (auto message = messages.rbegin(); message != messages.rend(); ++message) {
    if (message->thinking.empty()) continue;
    if (n_kept > 0)
      --n_kept;
    else
      message->thinking.clear();
  }
}

Result<void> manage_context(const Json& json, Call& call) {
  ASSIGN_OR_RETURN(const Json* management, object_field(json, "context_management"));
  const Json* edits = management != nullptr ? find_field(*management, "edits") : nullptr;
  if (edits == nullptr) return {};
  if (!edits->is_array()) return invalid("context_management.edits: must be an array");
  size_t n_kept = SIZE_MAX;  // of several edits the one that keeps least, and once: the messages may be many
  for (const Json& edit : *edits) {
    ASSIGN_OR_RETURN(const auto type, string_field(edit, "type"));
    if (type != "clear_thinking_20251015")
      return invalid(
          fmt::format("context_management: edits of type '{}' are not supported", type.value_or("").substr(0, 60)));
    const Json* keep = find_field(edit, "keep");
    if (keep == nullptr) {
      n_kept = std::min<size_t>(n_kept, 1);
    } else if (*keep != "all" && keep->is_object()) {
      ASSIGN_OR_RETURN(const auto kind, string_field(*keep, "type"));
      ASSIGN_OR_RETURN(const auto value, integer_field(*keep, "value"));
      if (kind == "thinking_turns")
        n_kept = std::min(n_kept, static_cast<size_t>(std::max<int64_t>(value.value_or(1), 0)));
    }
  }
  if (n_kept < SIZE_MAX) clear_thinking(call.messages, n_kept);
  return {};
}

Result<void> read_format(const Json* format, Call& call) {
  if (format == nullptr) return {};
  ASSIGN_OR_RETURN(const auto type, string_field(*format, "type"));
  const Json* schema = find_field(*format, "schema");
  if (type != "json_schema" || schema == nullptr || !schema->is_object())
    return invalid("output_config.format: must be of type 'json_schema' and have a 'schema'");
  call.schema = to_text(*schema);
  return {};
}

Result<void> read_thinking(const Json& json, Call& call) {
  call.think = false;
  ASSIGN_OR_RETURN(const Json* thinking, object_field(json, "thinking"));
  if (thinking == nullptr) return {};
  ASSIGN_OR_RETURN(const auto type, string_field(*thinking, "type"));
  if (type != "enabled" && type != "adaptive" && type != "disabled" && type != "between_tools")
    return invalid("thinking: type must be 'enabled', 'adaptive', 'between_tools' or 'disabled'");
  // Between tools: not before the first call, but with what they returned.
  const bool tool_spoke = !call.messages.empty() && call.messages.back().role == "tool";
  call.think = type == "enabled" || type == "adaptive" || (type == "between_tools" && tool_spoke);
  ASSIGN_OR_RETURN(const auto display, string_field(*thinking, "display"));
  call.hide_thinking = display == "omitted";
  if (find_field(*thinking, "budget_tokens") != nullptr) call.not_applied.emplace_back("thinking.budget_tokens");
  return {};
}

}  // namespace

Result<Call> parse_anthropic_messages(std::string_view body, bool counting) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  if (!model || model->empty()) return invalid("model: field required");
  call.model = *model;
  call.greedy_defaults_of_openai = true;
  RETURN_IF_ERROR(check_fields(json, call));
  ASSIGN_OR_RETURN(const auto max_tokens, integer_field(json, "max_tokens"));
  if (!counting && !max_tokens) return invalid("max_tokens: field required");
  if (max_tokens && *max_tokens < 1) return invalid("max_tokens: must be greater than 0");
  call.options.num_predict = max_tokens;
  ASSIGN_OR_RETURN(const auto stream, bool_field(json, "stream"));
  call.stream = stream.value_or(false);
  ASSIGN_OR_RETURN(call.options.temperature, number_field_within(json, "temperature", 0, 1));
  ASSIGN_OR_RETURN(call.options.top_p, number_field_within(json, "top_p", 0, 1));
  ASSIGN_OR_RETURN(call.options.top_k, integer_field(json, "top_k"));
  if (call.options.top_k.value_or(0) < 0) return invalid("'top_k' must be at least 0");
  if (const Json* stops = find_field(json, "stop_sequences"); stops != nullptr) {
    if (!stops->is_array()) return invalid("stop_sequences: must be an array of strings");
    call.options.stop.emplace();
    for (const Json& stop : *stops) {
      if (!stop.is_string()) return invalid("stop_sequences: must be an array of strings");
      call.options.stop->push_back(stop.get<std::string>());
    }
  }
  if (const Json* system = find_field(json, "system"); system != nullptr) {
    ASSIGN_OR_RETURN(std::string text, read_anthropic_system(*system));
    if (!text.empty()) call.messages.push_back({.role = "system", .content = std::move(text)});
  }
  ASSIGN_OR_RETURN(const Json* output, object_field(json, "output_config"));
  if (output != nullptr) {
    ASSIGN_OR_RETURN(const auto effort, string_field(*output, "effort"));
    if (effort) call.effort = effort_level(*effort);
    ASSIGN_OR_RETURN(const Json* format, object_field(*output, "format"));
    RETURN_IF_ERROR(read_format(format, call));
    if (find_field(*output, "task_budget") != nullptr) call.not_applied.emplace_back("output_config.task_budget");
  }
  ASSIGN_OR_RETURN(const Json* old_format, object_field(json, "output_format"));
  RETURN_IF_ERROR(read_format(old_format, call));

  Toolbox tools;
  RETURN_IF_ERROR(read_anthropic_tools(json, tools, call));
  const Json* messages = find_field(json, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    return invalid("messages: at least one message is required");
  RETURN_IF_ERROR(read_anthropic_messages(*messages, tools, call));
  RETURN_IF_ERROR(read_anthropic_choice(json, tools, call));
  call.tools = tools.take();
  RETURN_IF_ERROR(manage_context(json, call));
  RETURN_IF_ERROR(read_thinking(json, call));
  return call;
}

}  // namespace spillway
