// SPDX-License-Identifier: MIT
#include "serve/call.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace spillway {

CallOptions merge_options(CallOptions base, const CallOptions& over) {
  const auto take = [](auto& to, const auto& from) {
    if (from) to = from;
  };
  take(base.temperature, over.temperature);
  take(base.top_p, over.top_p);
  take(base.min_p, over.min_p);
  take(base.typical_p, over.typical_p);
  take(base.repeat_penalty, over.repeat_penalty);
  take(base.presence_penalty, over.presence_penalty);
  take(base.frequency_penalty, over.frequency_penalty);
  take(base.top_k, over.top_k);
  take(base.repeat_last_n, over.repeat_last_n);
  take(base.seed, over.seed);
  take(base.num_predict, over.num_predict);
  take(base.num_ctx, over.num_ctx);
  take(base.num_keep, over.num_keep);
  take(base.stop, over.stop);
  if (!over.logit_bias.empty()) base.logit_bias = over.logit_bias;
  return base;
}

std::string AnswerWriter::rendered(const std::string& prompt) { return prompt; }
bool is_json(const Call& call) { return call.any_json || !call.schema.empty(); }
size_t n_answers(const Call& call) { return (call.prompts == nullptr ? 1 : call.prompts->size()) * call.n_choices; }

namespace {

size_t bytes_of(const std::vector<std::string>& texts) {
  size_t bytes = texts.size() * sizeof(std::string);
  for (const std::string& text : texts) bytes += text.size();
  return bytes;
}

size_t bytes_of(const Message& message) {
  size_t bytes = sizeof message + message.content.size() + message.thinking.size() + message.tool_name.size() +
                 message.tool_call_id.size();
  for (const ToolCall& call : message.tool_calls)
    bytes += sizeof call + call.id.size() + call.name.size() + call.arguments.size();
  for (const MessageImage& image : message.images)
    bytes += sizeof image + image.data.size() + image.media.size() + image.place.size();
  return bytes;
}

size_t bytes_of(const PromptValue& prompt) {
  const auto* text = std::get_if<std::string>(&prompt);
  return text != nullptr ? text->size() : std::get<std::vector<TokenId>>(prompt).size() * sizeof(TokenId);
}

}  // namespace

size_t bytes_of_copy(const Call& call) {
  size_t bytes = call.prompt.size() + call.tokens.size() * sizeof(TokenId);
  if (call.prompts != nullptr)
    for (const PromptValue& prompt : *call.prompts) bytes = std::max(bytes, bytes_of(prompt));
  for (const std::string* text : {&call.suffix, &call.own_template, &call.schema, &call.grammar,
                                  &call.template_variables, &call.asked, &call.model, &call.effort})
    bytes += text->size();
  bytes += call.system.value_or("").size();
  for (const Message& message : call.messages) bytes += bytes_of(message);
  for (const Tool& tool : call.tools)
    bytes += sizeof tool + tool.name.size() + tool.description.size() + tool.parameters.size();
  for (const auto& [name, origin] : call.origins) bytes += name.size() + origin.name.size() + origin.name_space.size();
  if (call.options.stop) bytes += bytes_of(*call.options.stop);
  return bytes + call.options.logit_bias.size() * sizeof call.options.logit_bias.front() + bytes_of(call.strict_tools) +
         bytes_of(call.not_applied);
}

Call answer_of(Call one, size_t index) {
  CHECK(index < n_answers(one));
  const size_t choice = index % one.n_choices;
  if (const auto prompts = std::exchange(one.prompts, nullptr); prompts != nullptr) {
    const PromptValue& prompt = (*prompts)[index / one.n_choices];
    const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt);
    if (tokens != nullptr) one.kind = CallKind::kTokens;
    if (tokens == nullptr && one.kind == CallKind::kTokens) one.kind = CallKind::kRaw;
    one.tokens = tokens != nullptr ? *tokens : std::vector<TokenId>{};
    one.prompt = tokens != nullptr ? std::string() : std::get<std::string>(prompt);
  }
  one.n_choices = 1;
  // Behind the last seed there is comes the first.
  if (auto& seed = one.options.seed; seed && *seed >= 0)
    *seed = static_cast<int64_t>((static_cast<uint64_t>(*seed) + choice) & static_cast<uint64_t>(INT64_MAX));
  return one;
}

bool was_cut(const AnswerEnd& end) {
  return (end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull) && !end.ends_with_call;
}

Status as_told(const Status& status, const std::function<bool()>& is_stopping) {
  if (status.code() != Code::kCancelled || !is_stopping || !is_stopping()) return status;
  return {Code::kBusy, "the server is shutting down"};
}

int http_status(const Status& status) {
  switch (status.code()) {
    case Code::kInvalidArgument:
    case Code::kContextOverflow:
    case Code::kUnsupported:
      return 400;
    case Code::kNotFound:
      return 404;
    case Code::kPermissionDenied:
      return 403;
    case Code::kBusy:
    case Code::kUnavailable:
      return 503;
    case Code::kCancelled:
      return 499;
    default:
      return 500;
  }
}

std::optional<int> retry_after_s(const Status& status) {
  if (status.code() == Code::kBusy) return 1;
  if (status.code() == Code::kUnavailable) return 5;  // what was lost has to be loaded or reached again
  return std::nullopt;
}

}  // namespace spillway
