// SPDX-License-Identifier: MIT
#include "serve/call_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>

#include "chat/json_text.h"

namespace spillway {

Result<Tool> parse_function(const Json& function) {
  ASSIGN_OR_RETURN(const auto name, string_field(function, "name"));
  ASSIGN_OR_RETURN(const auto description, string_field(function, "description"));
  if (!name || name->empty()) return invalid("each of 'tools' needs a function with a 'name'");
  const Json* parameters = find_field(function, "parameters");
  return Tool{.name = *name,
              .description = description.value_or(""),
              .parameters = parameters != nullptr ? to_text(*parameters) : "{}"};
}

std::string arguments_text(const Json* arguments) {
  if (arguments == nullptr) return "{}";
  std::string text = arguments->is_string() ? arguments->get<std::string>() : to_text(*arguments);
  return is_json_object(text) ? text : "{}";
}

std::string effort_level(const std::string& effort) {
  if (effort == "minimal" || effort == "low") return "low";
  return effort == "medium" ? "medium" : "high";
}

// In one pass: looked for at each result, 50,000 calls and their results took 15 s. No table of hashes, since a client
// can choose names that have one and the same.
void name_tool_results(std::vector<Message>& messages) {
  std::map<std::string_view, std::string_view> tools;
  for (Message& message : messages) {
    if (message.role == "tool" && message.tool_name.empty()) {
      const auto found = tools.find(message.tool_call_id);
      if (found != tools.end()) message.tool_name = found->second;
    }
    for (const ToolCall& call : message.tool_calls) tools[call.id] = call.name;
  }
}

std::optional<TokenId> token_of_key(std::string_view key) {
  TokenId id = 0;
  const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), id);
  return code == std::errc() && end == key.data() + key.size() && id >= 0 ? std::optional(id) : std::nullopt;
}

std::optional<std::vector<TokenId>> token_ids(const Json& list) {
  if (!list.is_array()) return std::nullopt;
  std::vector<TokenId> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) return std::nullopt;
    ids.push_back(static_cast<TokenId>(id.get<int64_t>()));
  }
  return ids;
}

Result<void> parse_scores(const Json& json, Call& call) {
  ASSIGN_OR_RETURN(const auto logprobs, bool_field(json, "logprobs"));
  ASSIGN_OR_RETURN(const auto top_logprobs, integer_field(json, "top_logprobs"));
  if (top_logprobs && (*top_logprobs < 0 || *top_logprobs > 20))
    return invalid("top_logprobs must be between 0 and 20");
  call.scores = logprobs.value_or(false);
  call.top_scores = static_cast<size_t>(top_logprobs.value_or(0));
  return {};
}

Result<EmbedCall> parse_embed_call(const Json& json, std::span<const char* const> own) {
  EmbedCall call;
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  if (!model || model->empty()) return invalid("model is required");
  call.model = *model;
  ASSIGN_OR_RETURN(call.keep_alive_s, keep_alive_field(json));
  ASSIGN_OR_RETURN(call.dimensions, integer_field(json, "dimensions"));
  if (call.dimensions && *call.dimensions < 1) return invalid("'dimensions' must be at least 1");
  constexpr std::array kEmbedFields = {"model", "keep_alive", "dimensions"};
  for (const auto& [name, value] : json.items())
    if (!value.is_null() && std::find(kEmbedFields.begin(), kEmbedFields.end(), name) == kEmbedFields.end() &&
        std::find(own.begin(), own.end(), name) == own.end())
      call.not_applied.push_back(name);
  return call;
}

std::string list_of_vectors(const EmbedResult& result, const std::function<Json(const std::vector<float>&)>& one) {
  std::string list = "[";
  for (const std::vector<float>& vector : result.vectors) list += (list.size() > 1 ? "," : "") + to_text(one(vector));
  return list + "]";
}

Json json_of_progress(const CallProgress& progress) {
  switch (progress.phase) {
    case CallProgress::Phase::kQueue:
      return {{"phase", "queue"}, {"ahead", progress.ahead}};
    case CallProgress::Phase::kContext:
      return {{"phase", "context"}};
    case CallProgress::Phase::kLoading:
      return {{"phase", "loading"},
              {"model", progress.model},
              {"done", progress.done},
              {"total", progress.total},
              {"elapsed_s", progress.elapsed_s}};
    case CallProgress::Phase::kPrompt:
      return {{"phase", "prompt"},         {"done", progress.done},           {"total", progress.total},
              {"cached", progress.cached}, {"elapsed_s", progress.elapsed_s}, {"n_ctx", progress.n_ctx}};
  }
  return Json::object();
}

Json json_of_score(const TokenScore& score) {
  Json bytes = Json::array();
  for (const char c : score.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", score.bytes}, {"logprob", score.logprob}, {"bytes", std::move(bytes)}};
}

Json json_of_tops(const TokenScore& score) {
  Json tops = Json::array();
  for (const TokenScore& other : score.top) tops.push_back(json_of_score(other));
  return tops;
}

bool says_more_than_messages(std::string_view field) {
  constexpr std::array kParts = {"thread", "conversation", "previous_", "session", "history"};
  constexpr std::array kNames = {"documents", "data_sources", "attachments", "files", "file_ids", "chat_template"};
  return std::any_of(kParts.begin(), kParts.end(),
                     [&](std::string_view part) { return field.find(part) != std::string_view::npos; }) ||
         std::find(kNames.begin(), kNames.end(), field) != kNames.end();
}

Result<void> check_field_names(const Json& json, std::initializer_list<std::span<const char* const>> known,
                               Call& call) {
  for (const auto& [name, value] : json.items()) {
    const auto lists_it = [&name = name](std::span<const char* const> names) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (value.is_null() || std::any_of(known.begin(), known.end(), lists_it)) continue;
    if (says_more_than_messages(name))
      return invalid(fmt::format(
          "'{}' is not supported: nothing is stored here; a conversation is its messages, in the model's template",
          name.substr(0, 80)));
    call.not_applied.push_back(name);
  }
  return {};
}

}  // namespace spillway
