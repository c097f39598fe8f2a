// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include "base/json_reader.h"
#include "serve/anthropic.h"
#include "serve/anthropic_content.h"

namespace spillway {
namespace {

std::string event(const char* name, const Json& json) {
  return fmt::format("event: {}\ndata: {}\n\n", name, to_text(json));
}

const char* stop_reason(const AnswerEnd& end) {
  if (was_cut(end)) return "max_tokens";
  if (end.called_tools) return "tool_use";
  return end.reason == FinishReason::kStopString ? "stop_sequence" : "end_turn";
}

// Cached tokens are counted apart, as this protocol does.
Json json_of_usage(const PromptCount& prompt, size_t answer_tokens, size_t thinking_tokens) {
  return {{"input_tokens", prompt.prompt_tokens - prompt.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", prompt.cached_tokens},
          {"output_tokens", answer_tokens},
          {"output_tokens_details", {{"thinking_tokens", thinking_tokens}}},
          {"server_tool_use", nullptr}};
}
Json json_of_usage(const AnswerEnd& end) {
  return json_of_usage({end.prompt_tokens, end.cached_tokens}, end.answer_tokens, end.thinking_tokens);
}
// What only a message's own usage has.
Json with_service(Json usage) {
  usage.update(
      {{"cache_creation", nullptr}, {"service_tier", "standard"}, {"inference_geo", nullptr}, {"speed", nullptr}});
  return usage;
}

Json json_of_stop(const AnswerEnd& end) {
  const std::string_view reason = stop_reason(end);
  return {{"stop_reason", reason},
          {"stop_sequence", reason == "stop_sequence" ? Json(end.stop_string) : Json(nullptr)},
          {"stop_details", nullptr}};
}

Json text_block(const std::string& text) { return {{"type", "text"}, {"text", text}, {"citations", nullptr}}; }
Json tool_use_block(const ToolCall& call, Json input) {
  return {{"type", "tool_use"},
          {"id", call.id},
          {"name", call.name},
          {"input", std::move(input)},
          {"caller", {{"type", "direct"}}}};
}

Json input_of(const ToolCall& call) {
  Json input = json_or_null(call.arguments);
  return input.is_object() ? input : Json::object();
}

class AnthropicWriter : public AnswerWriter {
 public:
  AnthropicWriter(const Call& call, std::string id, std::string request_id)
      : model_(call.model),
        id_(std::move(id)),
        request_id_(std::move(request_id)),
        hides_thinking_(call.hide_thinking) {}

  const char* stream_type() const override { return "text/event-stream"; }

  std::string part(const AnswerPart& part) override {
    std::string out;
    if (part.content.empty() && part.thinking.empty() && part.tool_calls.empty()) return out;
    out += begin();
    if (!part.thinking.empty()) {
      out += open("thinking", {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
      if (!hides_thinking_) out += delta({{"type", "thinking_delta"}, {"thinking", part.thinking}});
      if (hides_thinking_) hidden_ += part.thinking;
    }
    if (!part.content.empty()) {
      out += open("text", text_block(""));
      out += delta({{"type", "text_delta"}, {"text", part.content}});
    }
    for (const ToolCall& call : part.tool_calls) {
      out += close();
      out += open("tool_use", tool_use_block(call, Json::object()));
      out += delta({{"type", "input_json_delta"}, {"partial_json", call.arguments}});
      out += close();
    }
    return out;
  }
  void counted(const PromptCount& prompt) override { prompt_ = prompt; }
  // A ping may come before the message begins, which it does not before its tokens are counted.
  std::string heartbeat() override { return (prompt_ ? begin() : "") + event("ping", {{"type", "ping"}}); }
  std::string failure(const Status& status) override {
    return "event: error\ndata: " + anthropic_error(status, request_id_) + "\n\n";
  }
  std::string end(const AnswerEnd& end) override {
    std::string out = begin() + close();
    out += event("message_delta",
                 {{"type", "message_delta"}, {"delta", json_of_stop(end)}, {"usage", json_of_usage(end)}});
    return out + event("message_stop", {{"type", "message_stop"}});
  }

  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    Json content = Json::array();
    if (!all.thinking.empty())
      content.push_back({{"type", "thinking"},
                         {"thinking", hides_thinking_ ? "" : all.thinking},
                         {"signature", hides_thinking_ ? signature_of_thought(all.thinking) : ""}});
    if (!all.content.empty()) content.push_back(text_block(all.content));
    for (const ToolCall& call : all.tool_calls) content.push_back(tool_use_block(call, input_of(call)));
    Json message = message_head();
    message["content"] = std::move(content);
    message.update(json_of_stop(end));
    message["usage"] = with_service(json_of_usage(end));
    return to_text(message);
  }

 private:
  Json message_head() const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_},
            {"content", Json::array()},
            {"stop_reason", nullptr},
            {"stop_sequence", nullptr},
            {"stop_details", nullptr},
            {"container", nullptr},
            {"usage", with_service(json_of_usage(prompt_.value_or(PromptCount{}), 0, 0))}};
  }
  std::string begin() {
    if (begun_) return "";
    begun_ = true;
    return event("message_start", {{"type", "message_start"}, {"message", message_head()}});
  }
  std::string open(const std::string& kind, Json block) {
    if (open_ == kind) return "";
    std::string out = close();
    open_ = kind;
    return out + event("content_block_start",
                       {{"type", "content_block_start"}, {"index", index_}, {"content_block", std::move(block)}});
  }
  std::string delta(Json what) const {
    return event("content_block_delta",
                 {{"type", "content_block_delta"}, {"index", index_}, {"delta", std::move(what)}});
  }
  std::string close() {
    if (open_.empty()) return "";
    open_.clear();
    if (!hidden_.empty()) {
      const std::string signed_thought =
          delta({{"type", "signature_delta"}, {"signature", signature_of_thought(std::exchange(hidden_, {}))}});
      return signed_thought + event("content_block_stop", {{"type", "content_block_stop"}, {"index", index_++}});
    }
    return event("content_block_stop", {{"type", "content_block_stop"}, {"index", index_++}});
  }

  const std::string model_, id_, request_id_;
  const bool hides_thinking_;
  std::string hidden_;  // of the block that is open
  std::optional<PromptCount> prompt_;
  bool begun_ = false;
  std::string open_;  // kind of the block that is open
  size_t index_ = 0;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_anthropic_writer(const Call& call, std::string id, std::string request_id) {
  return std::make_unique<AnthropicWriter>(call, std::move(id), std::move(request_id));
}

std::string anthropic_error(const Status& status, const std::string& request_id) {
  const int http = http_status(status);
  const char* type = http == 404                    ? "not_found_error"
                     : http == 403                  ? "permission_error"
                     : http < 500                   ? "invalid_request_error"
                     : status.code() == Code::kBusy ? "overloaded_error"
                                                    : "api_error";
  Json body = {{"type", type}, {"message", status.message()}};
  if (!status.reason().empty()) body["details"] = {{"error_code", status.reason()}};
  return to_text({{"type", "error"}, {"error", std::move(body)}, {"request_id", request_id}});
}

}  // namespace spillway
