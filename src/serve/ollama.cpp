// SPDX-License-Identifier: MIT
#include "serve/ollama.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <span>

#include "base/json_reader.h"
#include "serve/call_json.h"
#include "serve/call_messages.h"
#include "serve/message_images.h"
#include "serve/ollama_options.h"
#include "serve/toolbox.h"

namespace spillway {
namespace {

Result<std::vector<std::string>> image_list(const Json& images) {
  if (!images.is_array()) return invalid("'images' must be of type array");
  std::vector<std::string> data;
  for (const Json& image : images) {
    if (!image.is_string()) return invalid("each of 'images' must be base64 text");
    data.push_back(image.get<std::string>());
  }
  return data;
}

// Of a prompt that is shown: "[img-0]", "[img-1]", ...
size_t count_images(const std::string& prompt) {
  size_t n = 0;
  // They are in order: what a text of the client's has of them before is no image.
  for (size_t at = 0; (at = prompt.find(fmt::format("[img-{}]", n), at)) != std::string::npos; ++at) ++n;
  return n;
}

// "role" and "content" of each message, in order; tool calls keep their arguments as text.
Result<Message> parse_message(const Json& json) {
  if (!json.is_object()) return invalid("each of 'messages' must be an object");
  Message message;
  ASSIGN_OR_RETURN(auto role, string_field(json, "role"));
  ASSIGN_OR_RETURN(auto content, string_field(json, "content"));
  ASSIGN_OR_RETURN(auto thinking, string_field(json, "thinking"));
  ASSIGN_OR_RETURN(auto tool_name, string_field(json, "tool_name"));
  ASSIGN_OR_RETURN(auto tool_call_id, string_field(json, "tool_call_id"));
  message.role = role.value_or("");
  for (char& c : message.role)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  if (message.role == "developer") message.role = "system";
  constexpr size_t kRoleBytesMax = 100;
  if (message.role.size() > kRoleBytesMax) return invalid("a 'role' of more than 100 bytes");
  if (message.role.empty()) return invalid("each of 'messages' needs a 'role'");  // any: the template knows which
  message.content = content.value_or("");
  message.thinking = thinking.value_or("");
  message.tool_name = tool_name.value_or("");
  message.tool_call_id = tool_call_id.value_or("");
  if (const Json* images = find_field(json, "images"); images != nullptr) {
    ASSIGN_OR_RETURN(std::vector<std::string> data, image_list(*images));
    put_images_first(message, std::move(data));
  }
  if (const Json* calls = find_field(json, "tool_calls"); calls != nullptr) {
    if (!calls->is_array()) return invalid("'tool_calls' must be of type array");
    for (const Json& call : *calls) {
      const Json* function = find_field(call, "function");
      if (function == nullptr || !function->is_object()) return invalid("a tool call has no 'function'");
      ToolCall tool_call;
      ASSIGN_OR_RETURN(auto id, string_field(call, "id"));
      ASSIGN_OR_RETURN(auto name, string_field(*function, "name"));
      tool_call.id = id.value_or("");
      tool_call.name = name.value_or("");
      const Json* arguments = find_field(*function, "arguments");
      if (arguments != nullptr && !arguments->is_object())
        return invalid("'arguments' of a tool call must be of type object");
      if (arguments != nullptr) tool_call.arguments = to_text(*arguments);
      message.tool_calls.push_back(std::move(tool_call));
    }
  }
  return message;
}

Result<void> parse_format(const Json& json, Call& call) {
  const Json* format = find_field(json, "format");
  if (format == nullptr || (format->is_string() && format->get<std::string>().empty())) return {};
  if (format->is_string() && format->get<std::string>() == "json") {
    call.any_json = true;
    return {};
  }
  if (!format->is_object())
    return invalid(fmt::format("invalid format: {}; expected \"json\" or a valid JSON Schema object",
                               to_text(*format).substr(0, 100)));
  call.schema = to_text(*format);
  return {};
}

Result<void> parse_think(const Json& json, Call& call) {
  const Json* think = find_field(json, "think");
  if (think == nullptr) return {};
  if (think->is_boolean()) {
    call.think = think->get<bool>();
    return {};
  }
  const std::string level = think->is_string() ? think->get<std::string>() : "";
  if (level != "low" && level != "medium" && level != "high" && level != "max")
    return invalid(
        fmt::format("invalid think value: {} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)",
                    to_text(*think).substr(0, 60)));
  call.think = true;
  call.effort = level == "max" ? "high" : level;
  return {};
}

// Fields of generate and of chat alike; both also have fields of their own.
constexpr std::array kSharedFields = {"model",    "stream",      "keep_alive", "options",  "format",
                                      "think",    "truncate",    "shift",      "logprobs", "_debug_render_only",
                                      "progress", "top_logprobs"};
constexpr std::array kChatFields = {"messages", "tools"};
constexpr std::array kGenerateFields = {"prompt", "suffix", "system", "template", "context",
                                        "images", "raw",    "width",  "height",   "steps"};

// What nobody here reads is named; what says that the conversation is more than its messages is refused.
Result<void> check_ollama_fields(const Json& json, std::span<const char* const> own, Call& call) {
  RETURN_IF_ERROR(check_field_names(json, {kSharedFields, own}, call));
  const Json* options = find_field(json, "options");
  if (options == nullptr) return {};
  for (const std::string& name : unused_option_names(*options))
    if (name != "ignore_eos") call.not_applied.push_back("options." + name);
  return {};
}

// What generate and chat have in common.
Result<void> parse_shared(const Json& json, Call& call) {
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  if (!model || model->empty()) return invalid("model is required");
  call.model = *model;
  ASSIGN_OR_RETURN(const auto stream, bool_field(json, "stream"));
  call.stream = stream.value_or(true);
  ASSIGN_OR_RETURN(call.keep_alive_s, keep_alive_field(json));
  if (const Json* options = find_field(json, "options"); options != nullptr) {
    ASSIGN_OR_RETURN(call.options, parse_ollama_options(*options));
    if (const Json* ignore_eos = find_field(*options, "ignore_eos"); ignore_eos != nullptr && ignore_eos->is_boolean())
      call.ignore_eos = ignore_eos->get<bool>();
  }
  RETURN_IF_ERROR(parse_format(json, call));
  RETURN_IF_ERROR(parse_think(json, call));
  ASSIGN_OR_RETURN(const auto truncate, bool_field(json, "truncate"));
  ASSIGN_OR_RETURN(const auto shift, bool_field(json, "shift"));
  ASSIGN_OR_RETURN(const auto render_only, bool_field(json, "_debug_render_only"));
  call.truncate = truncate.value_or(true);
  call.shift = shift.value_or(true);
  call.render_only = render_only.value_or(false);
  ASSIGN_OR_RETURN(const auto progress, bool_field(json, "progress"));
  call.progress = progress.value_or(false);
  return parse_scores(json, call);
}

// Of all options vectors depend on one alone.
Result<void> parse_embed_options(const Json& json, EmbedCall& call) {
  const Json* options = find_field(json, "options");
  if (options == nullptr) return {};
  ASSIGN_OR_RETURN(const CallOptions parsed, parse_ollama_options(*options));
  call.num_ctx = parsed.num_ctx;
  for (const auto& [name, value] : options->items())
    if (name != "num_ctx" && !value.is_null()) call.not_applied.push_back("options." + name);
  return {};
}

int64_t ns(double seconds) { return std::llround(seconds * 1e9); }

class OllamaWriter : public AnswerWriter {
 public:
  OllamaWriter(const Call& call, std::function<double()> unix_s)
      : model_(call.model),
        chat_(call.kind == CallKind::kChat),
        unix_s_(std::move(unix_s)),
        with_context_(call.kind == CallKind::kText) {}

  const char* stream_type() const override { return "application/x-ndjson"; }
  std::string part(const AnswerPart& part) override {
    if (part.empty()) return "";
    Json json = head();
    put(json, part);
    json["done"] = false;
    return line(json);
  }
  std::string heartbeat() override {
    Json json = head();
    put(json, {});
    json["done"] = false;
    return line(json);
  }
  std::string progress(const CallProgress& progress) override {
    Json json = head();
    put(json, {});
    json["done"] = false;
    json["progress"] = json_of_progress(progress);
    return line(json);
  }
  std::string end(const AnswerEnd& end) override { return whole({}, end); }
  std::string failure(const Status& status) override { return ollama_error(status) + "\n"; }

  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    Json json = head();
    put(json, all);
    json["done"] = true;
    json["done_reason"] = end.unloaded      ? "unload"
                          : end.loaded_only ? "load"
                          : end.reason == FinishReason::kMaxTokens || end.reason == FinishReason::kContextFull
                              ? "length"
                              : "stop";
    if (end.loaded_only || end.unloaded) return line(json);
    if (with_context_) json["context"] = end.context;
    json["total_duration"] = ns(end.total_s);
    json["load_duration"] = ns(end.load_s);
    json["prompt_eval_count"] = end.prompt_tokens;
    json["prompt_eval_cached_count"] = end.cached_tokens;
    json["prompt_eval_duration"] = ns(end.prompt_s);
    json["eval_count"] = end.answer_tokens;
    json["eval_duration"] = ns(end.decode_s);
    return line(json);
  }

  std::string rendered(const std::string& prompt) override {
    Json json = head();
    put(json, {});
    json["done"] = false;
    json["_debug_info"] = {{"rendered_template", prompt}, {"image_count", count_images(prompt)}};
    return to_text(json);
  }

 private:
  Json head() const { return {{"model", model_}, {"created_at", rfc3339(unix_s_())}}; }
  static std::string line(const Json& json) { return to_text(json) + "\n"; }

  void put(Json& json, const AnswerPart& part) {
    if (chat_) {
      Json message = {{"role", "assistant"}, {"content", part.content}};
      if (!part.thinking.empty()) message["thinking"] = part.thinking;
      for (const ToolCall& call : part.tool_calls) {
        Json arguments = json_or_null(call.arguments);
        if (arguments.is_null()) arguments = Json::object();
        message["tool_calls"].push_back(
            {{"id", call.id},
             {"function", {{"index", n_calls_++}, {"name", call.name}, {"arguments", std::move(arguments)}}}});
      }
      json["message"] = std::move(message);
    } else {
      json["response"] = part.content;
      if (!part.thinking.empty()) json["thinking"] = part.thinking;
    }
    for (const TokenScore& score : part.scores) {
      Json one = json_of_score(score);
      if (!score.top.empty()) one["top_logprobs"] = json_of_tops(score);
      json["logprobs"].push_back(std::move(one));
    }
  }

  const std::string model_;
  const bool chat_;
  const std::function<double()> unix_s_;
  const bool with_context_;
  size_t n_calls_ = 0;
};

}  // namespace

Result<Call> parse_ollama_chat(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  RETURN_IF_ERROR(parse_shared(json, call));
  RETURN_IF_ERROR(check_ollama_fields(json, kChatFields, call));
  if (const Json* messages = find_field(json, "messages"); messages != nullptr) {
    if (!messages->is_array()) return invalid("'messages' must be of type array");
    for (const Json& message : *messages) {
      ASSIGN_OR_RETURN(Message parsed, parse_message(message));
      call.messages.push_back(std::move(parsed));
    }
  }
  if (const Json* tools = find_field(json, "tools"); tools != nullptr) {
    if (!tools->is_array()) return invalid("'tools' must be of type array");
    if (tools->size() > kToolsMax) return invalid(fmt::format("tools: there are more than {}", kToolsMax));
    for (const Json& tool : *tools) {
      const Json* function = find_field(tool, "function");
      if (function == nullptr || !function->is_object()) return invalid("each of 'tools' needs a 'function'");
      ASSIGN_OR_RETURN(Tool offered, parse_function(*function));
      call.tools.push_back(std::move(offered));
    }
  }
  call.load_only = call.messages.empty();
  return call;
}

Result<Call> parse_ollama_generate(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  Call call;
  call.kind = CallKind::kText;
  RETURN_IF_ERROR(parse_shared(json, call));
  RETURN_IF_ERROR(check_ollama_fields(json, kGenerateFields, call));
  if (find_field(json, "width") != nullptr || find_field(json, "height") != nullptr ||
      find_field(json, "steps") != nullptr)
    return invalid("image generation models are not currently supported");
  ASSIGN_OR_RETURN(const auto prompt, string_field(json, "prompt"));
  ASSIGN_OR_RETURN(const auto suffix, string_field(json, "suffix"));
  ASSIGN_OR_RETURN(call.system, string_field(json, "system"));
  if (call.system == "") call.system.reset();  // Ollama's own client always sends the field
  ASSIGN_OR_RETURN(const auto own_template, string_field(json, "template"));
  ASSIGN_OR_RETURN(const auto raw, bool_field(json, "raw"));
  call.prompt = prompt.value_or("");
  call.suffix = suffix.value_or("");
  call.own_template = own_template.value_or("");
  if (const Json* context = find_field(json, "context"); context != nullptr) {
    if (!context->is_array()) return invalid("'context' must be of type array");
    auto ids = token_ids(*context);
    if (!ids) return invalid("'context' must be an array of integers");
    call.tokens = std::move(*ids);
  }
  if (raw.value_or(false)) {
    if (!call.own_template.empty() || call.system || !call.tokens.empty())
      return invalid("raw mode does not support template, system, or context");
    call.kind = CallKind::kRaw;
  }
  const Json* images = find_field(json, "images");
  if (images != nullptr) {
    ASSIGN_OR_RETURN(std::vector<std::string> data, image_list(*images));
    Message shown = plain_message("user", call.prompt);
    put_images_first(shown, std::move(data));
    if (!shown.images.empty() && !call.suffix.empty()) return invalid("'images' do not go with 'suffix'");
    call.prompt = shown.content;
    if (!shown.images.empty()) call.messages.push_back(std::move(shown));
  }
  if (!call.suffix.empty()) call.kind = CallKind::kInfill;
  call.load_only = call.prompt.empty() && call.suffix.empty();
  return call;
}

Result<EmbedCall> parse_ollama_embed(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  static constexpr const char* kFields[] = {"input", "truncate", "options"};
  ASSIGN_OR_RETURN(EmbedCall call, parse_embed_call(json, kFields));
  ASSIGN_OR_RETURN(const auto truncate, bool_field(json, "truncate"));
  call.truncate = truncate.value_or(true);
  RETURN_IF_ERROR(parse_embed_options(json, call));
  const Json* input = find_field(json, "input");
  if (input != nullptr && input->is_string()) {
    call.texts.push_back(input->get<std::string>());
  } else if (input != nullptr && input->is_array()) {
    for (const Json& text : *input) {
      if (!text.is_string()) return invalid("invalid input type");
      call.texts.push_back(text.get<std::string>());
    }
  } else if (input != nullptr) {
    return invalid("invalid input type");
  }
  call.load_only = call.texts.empty() || (input->is_string() && call.texts[0].empty());
  return call;
}

Result<EmbedCall> parse_ollama_embeddings(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  static constexpr const char* kFields[] = {"prompt", "options"};
  ASSIGN_OR_RETURN(EmbedCall call, parse_embed_call(json, kFields));
  RETURN_IF_ERROR(parse_embed_options(json, call));
  ASSIGN_OR_RETURN(const auto prompt, string_field(json, "prompt"));
  call.single = true;
  call.load_only = prompt.value_or("").empty();
  call.texts = {prompt.value_or("")};
  return call;
}

std::unique_ptr<AnswerWriter> make_ollama_writer(const Call& call, std::function<double()> unix_s) {
  return std::make_unique<OllamaWriter>(call, std::move(unix_s));
}

std::string ollama_embed_reply(const EmbedCall& call, const EmbedResult& result) {
  if (call.single) {
    Json vector = Json::array();
    if (!result.vectors.empty())
      for (const float x : result.vectors.front()) vector.push_back(static_cast<double>(x));
    return to_text({{"embedding", std::move(vector)}});
  }
  std::string reply = fmt::format(R"({{"model":{},"embeddings":{})", to_text(call.model),
                                  list_of_vectors(result, [](const std::vector<float>& vector) { return vector; }));
  if (!call.load_only)
    reply += fmt::format(R"(,"total_duration":{},"load_duration":{},"prompt_eval_count":{})", ns(result.total_s),
                         ns(result.load_s), result.prompt_tokens);
  return reply + "}";
}

std::string ollama_error(const Status& status) { return to_text({{"error", status.message()}}); }

}  // namespace spillway
