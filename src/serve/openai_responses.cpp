// SPDX-License-Identifier: MIT
#include "serve/openai_responses.h"

#include <fmt/format.h>

#include <functional>
#include <map>
#include <utility>

#include "serve/call_json.h"
#include "serve/openai_common.h"
#include "serve/openai_items.h"
#include "serve/openai_tools.h"

namespace spillway {
namespace {

// Each event that repeats them is a copy.
constexpr size_t kAskedBytesMax = 8ull << 20;
// As many as an answer has that is no stream (RoutesOptions): some 200 MB of JSON in each of the events that repeat
// them.
constexpr size_t kRepeatedScoresMax = 400'000;

// What was sent, and what was not.
Json with_defaults(Json sent, const Json& defaults) {
  if (!sent.is_object()) return defaults;
  for (const auto& [name, value] : defaults.items())
    if (!sent.contains(name)) sent[name] = value;
  return sent;
}

Json reasoning_defaults() { return {{"effort", nullptr}, {"summary", nullptr}}; }
Json text_defaults() { return {{"format", {{"type", "text"}}}}; }

// What the response repeats, a line for each field: its name, a space, its value. It stays text from here on: as a tree
// it takes twenty times as much, and hundreds may wait for their answers with it.
std::string lines_to_repeat(const Json& json) {
  static constexpr const char* kRepeated[] = {"instructions",      "max_output_tokens",
                                              "max_tool_calls",    "parallel_tool_calls",
                                              "prompt_cache_key",  "reasoning",
                                              "safety_identifier", "text",
                                              "tool_choice",       "tools",
                                              "truncation",        "user",
                                              "metadata"};
  std::string lines;
  for (const char* name : kRepeated) {
    const Json* field = find_field(json, name);
    if (field == nullptr) continue;
    std::string value;
    if (std::string_view(name) == "reasoning")
      value = to_text(with_defaults(*field, reasoning_defaults()));
    else if (std::string_view(name) == "text")
      value = to_text(with_defaults(*field, text_defaults()));
    else
      value = to_text(*field);
    lines += fmt::format("{} {}\n", name, value);
  }
  return lines;
}

// An object of JSON, field by field, of which some are text already.
class ObjectText {
 public:
  void add(std::string_view name, const Json& value) { add_text(name, to_text(value)); }
  void add_text(std::string_view name, std::string_view value) {
    text_ += fmt::format("{}\"{}\":", text_.empty() ? "{" : ",", name);
    text_ += value;
  }
  std::string take() { return std::move(text_) + "}"; }

 private:
  std::string text_;
};

class ResponsesWriter : public AnswerWriter {
 public:
  ResponsesWriter(const Call& call, std::string id, int64_t created_s, size_t repeated_scores_max)
      : call_(what_is_told_of(call)),
        repeated_(fields_of(call.asked)),
        id_(std::move(id)),
        created_s_(created_s),
        repeated_scores_max_(repeated_scores_max) {}

  const char* stream_type() const override { return "text/event-stream"; }

  std::string part(const AnswerPart& part) override {
    std::string out;
    if (!part.thinking.empty()) {
      out += open("reasoning");
      all_.thinking += part.thinking;
      out += event(
          "response.reasoning_summary_text.delta",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"summary_index", 0}, {"delta", part.thinking}});
    }
    hold_scores(part);
    if (!part.content.empty()) {
      if (open_ != "message") drop_scores_before(part.content);
      out += open("message");
      all_.content += part.content;
      const std::vector<TokenScore> scores = std::exchange(held_scores_, {});
      out += event("response.output_text.delta", {{"item_id", item_id_},
                                                  {"output_index", output_.size()},
                                                  {"content_index", 0},
                                                  {"delta", part.content},
                                                  {"logprobs", logprobs(scores)}});
      keep(scores);
    }
    for (const ToolCall& tool_call : part.tool_calls) {
      out += begin();  // each is numbered when it is made
      out += close();
      out += call_events(tool_call);
    }
    return out;
  }
  std::string heartbeat() override { return begin() + ": still there\n\n"; }
  std::string failure(const Status& status) override {
    const Json error = {{"code", status.code() == Code::kContextOverflow ? "context_length_exceeded" : "server_error"},
                        {"message", status.message()}};
    const std::string begun = begin();
    return begun + response_event("response.failed", response("failed", nullptr, error));
  }
  std::string end(const AnswerEnd& end) override {
    std::string out = begin();
    const bool cut = was_cut(end);
    out += close(cut ? "incomplete" : "completed");
    return out + response_event(cut ? "response.incomplete" : "response.completed",
                                response(cut ? "incomplete" : "completed", &end));
  }
  std::string whole(const AnswerPart& all, const AnswerEnd& end) override {
    (void)part(all);
    const bool cut = was_cut(end);
    (void)close(cut ? "incomplete" : "completed");
    return response(cut ? "incomplete" : "completed", &end);
  }

 private:
  // Not the conversation, of which the run has the only copy.
  static Call what_is_told_of(const Call& call) {
    Call told;
    told.model = call.model;
    told.origins = call.origins;
    told.options.temperature = call.options.temperature;
    told.options.top_p = call.options.top_p;
    told.top_scores = call.top_scores;
    return told;
  }
  static std::map<std::string, std::string, std::less<>> fields_of(std::string_view lines) {
    std::map<std::string, std::string, std::less<>> fields;
    for (size_t end = 0; (end = lines.find('\n')) != std::string_view::npos; lines.remove_prefix(end + 1)) {
      const size_t space = lines.find(' ');
      fields.emplace(lines.substr(0, space), lines.substr(space + 1, end - space - 1));
    }
    return fields;
  }
  // What may still become a call, or a stop, is held back: the scores of its tokens come before its text does. Those of
  // thoughts and calls are in no message.
  void hold_scores(const AnswerPart& part) {
    held_scores_.insert(held_scores_.end(), part.scores.begin(), part.scores.end());
    const bool is_other = !part.thinking.empty() || !part.tool_calls.empty();
    if (part.content.empty() && (is_other || held_scores_.size() > repeated_scores_max_)) held_scores_.clear();
  }
  // Those of the marks that end thoughts, or white space that is left out.
  void drop_scores_before(const std::string& text) {
    std::string spelled;
    for (const TokenScore& score : held_scores_) spelled += score.bytes;
    const size_t begin = spelled.rfind(text);
    if (begin == std::string::npos) return;
    auto first = held_scores_.begin();
    for (size_t end = 0; first != held_scores_.end() && (end += first->bytes.size()) <= begin;) ++first;
    held_scores_.erase(held_scores_.begin(), first);
  }
  // All of a message or nothing: a list that is cut would be taken for a whole one.
  void keep(const std::vector<TokenScore>& scores) {
    for (const TokenScore& score : scores) n_scores_ += 1 + score.top.size();
    if (n_scores_ > repeated_scores_max_)
      std::vector<TokenScore>().swap(all_.scores);
    else
      all_.scores.insert(all_.scores.end(), scores.begin(), scores.end());
  }
  std::string event(const char* type, Json fields) {
    Json json = {{"type", type}, {"sequence_number", sequence_++}};
    for (auto& [name, value] : fields.items()) json[name] = std::move(value);  // not copied: of long answers it is much
    return fmt::format("event: {}\ndata: {}\n\n", type, to_text(json));
  }
  std::string response_event(const char* type, const std::string& response) {
    return fmt::format("event: {0}\ndata: {{\"type\":\"{0}\",\"sequence_number\":{1},\"response\":{2}}}\n\n", type,
                       sequence_++, response);
  }
  // A call comes whole; clients that put one together from deltas get it as one.
  std::string call_events(const ToolCall& tool_call) {
    const std::string item_id = fmt::format("{}_{}_{}", item_prefix(call_, tool_call), id_, output_.size());
    const size_t index = output_.size();
    const Json whole = item_of_call(call_, tool_call, item_id, "completed");
    Json begun = whole;
    begun["status"] = "in_progress";
    std::string deltas;
    for (const auto& [field, name] :
         {std::pair("arguments", "function_call_arguments"), std::pair("input", "custom_tool_call_input")}) {
      if (!whole.contains(field) || !whole[field].is_string()) continue;
      begun[field] = "";
      Json delta = {{"item_id", item_id}, {"output_index", index}}, done = delta;
      delta["delta"] = whole[field];
      done.update({{"name", whole["name"]}, {field, whole[field]}});
      const std::string added = event("response.output_item.added", {{"output_index", index}, {"item", begun}});
      deltas = added + event(fmt::format("response.{}.delta", name).c_str(), delta);
      deltas += event(fmt::format("response.{}.done", name).c_str(), done);
    }
    if (deltas.empty()) deltas = event("response.output_item.added", {{"output_index", index}, {"item", begun}});
    output_.push_back(whole);
    return deltas + event("response.output_item.done", {{"output_index", index}, {"item", whole}});
  }
  std::string begin() {
    if (begun_) return "";
    begun_ = true;
    const std::string begun = response("in_progress", nullptr);
    const std::string created = response_event("response.created", begun);  // numbered in this order
    return created + response_event("response.in_progress", begun);
  }
  std::string open(const std::string& kind) {
    std::string out = begin();
    if (open_ == kind) return out;
    out += close();
    open_ = kind;
    item_id_ = fmt::format("{}_{}_{}", kind == "message" ? "msg" : "rs", id_, output_.size());
    out += event("response.output_item.added", {{"output_index", output_.size()}, {"item", item("in_progress")}});
    if (kind == "message")
      out += event(
          "response.content_part.added",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"content_index", 0}, {"part", text_part("", {})}});
    else
      out += event(
          "response.reasoning_summary_part.added",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"summary_index", 0}, {"part", summary_part("")}});
    return out;
  }
  // `status`: an item that the end of the answer cut says so, too.
  std::string close(const char* status = "completed") {
    if (open_.empty()) return "";
    std::string out;
    if (open_ == "message") {
      out += event("response.output_text.done", {{"item_id", item_id_},
                                                 {"output_index", output_.size()},
                                                 {"content_index", 0},
                                                 {"text", all_.content},
                                                 {"logprobs", logprobs(all_.scores)}});
      out += event("response.content_part.done", {{"item_id", item_id_},
                                                  {"output_index", output_.size()},
                                                  {"content_index", 0},
                                                  {"part", text_part(all_.content, all_.scores)}});
    } else {
      out += event(
          "response.reasoning_summary_text.done",
          {{"item_id", item_id_}, {"output_index", output_.size()}, {"summary_index", 0}, {"text", all_.thinking}});
      out += event("response.reasoning_summary_part.done", {{"item_id", item_id_},
                                                            {"output_index", output_.size()},
                                                            {"summary_index", 0},
                                                            {"part", summary_part(all_.thinking)}});
    }
    const size_t index = output_.size();
    output_.push_back(item(status));
    open_.clear();
    all_ = {};
    out += event("response.output_item.done", {{"output_index", index}, {"item", output_.back()}});
    return out;
  }
  static Json logprobs(const std::vector<TokenScore>& scores) {
    Json list = Json::array();
    for (const TokenScore& score : scores) {
      list.push_back(json_of_score(score));
      list.back()["top_logprobs"] = json_of_tops(score);
    }
    return list;
  }
  static Json text_part(const std::string& text, const std::vector<TokenScore>& scores) {
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", logprobs(scores)}};
  }
  static Json summary_part(const std::string& text) { return {{"type", "summary_text"}, {"text", text}}; }
  Json item(const char* status) const {
    const bool done = std::string_view(status) != "in_progress";
    if (open_ == "message")
      return {{"id", item_id_},
              {"type", "message"},
              {"status", status},
              {"role", "assistant"},
              {"content", done ? Json::array({text_part(all_.content, all_.scores)}) : Json::array()}};
    Json summary = Json::array();
    if (done) summary.push_back(summary_part(all_.thinking));
    return {{"id", item_id_}, {"type", "reasoning"}, {"status", status}, {"summary", std::move(summary)}};
  }

  // The response repeats what was asked for; fields that clients' types have and nobody sent have their defaults.
  std::string response(std::string_view status, const AnswerEnd* end, const Json& error = nullptr) const {
    ObjectText text;
    const auto repeat = [&](const char* name, const Json& otherwise = nullptr) {
      const auto field = repeated_.find(name);
      text.add_text(name, field != repeated_.end() ? field->second : to_text(otherwise));
    };
    const bool is_whole = end != nullptr && status == "completed";
    const bool is_cut = end != nullptr && status == "incomplete";
    text.add("id", id_);
    text.add("object", "response");
    text.add("created_at", created_s_);
    text.add("status", status);
    text.add("background", false);
    text.add("completed_at", is_whole ? Json(created_s_ + static_cast<int64_t>(end->total_s)) : Json());
    text.add("error", error);
    Json incomplete;
    if (is_cut) incomplete = {{"reason", "max_output_tokens"}};
    text.add("incomplete_details", incomplete);
    repeat("instructions");
    repeat("max_output_tokens");
    repeat("max_tool_calls");
    text.add("model", call_.model);
    text.add("output", output_);
    repeat("parallel_tool_calls", true);
    text.add("previous_response_id", nullptr);
    repeat("prompt_cache_key");
    repeat("reasoning", reasoning_defaults());
    repeat("safety_identifier");
    text.add("service_tier", "default");
    text.add("store", false);
    text.add("temperature", call_.options.temperature.value_or(1.0));
    repeat("text", text_defaults());
    repeat("tool_choice", "auto");
    repeat("tools", Json::array());
    text.add("top_logprobs", call_.top_scores);
    text.add("top_p", call_.options.top_p.value_or(1.0));
    repeat("truncation", "disabled");
    text.add("usage", end != nullptr ? usage(*end) : Json());
    repeat("user");
    repeat("metadata", Json::object());
    return text.take();
  }
  static Json usage(const AnswerEnd& end) {
    return {{"input_tokens", end.prompt_tokens},
            {"input_tokens_details", {{"cached_tokens", end.cached_tokens}}},
            {"output_tokens", end.answer_tokens},
            {"output_tokens_details", {{"reasoning_tokens", end.thinking_tokens}}},
            {"total_tokens", end.prompt_tokens + end.answer_tokens}};
  }

  const Call call_;
  const std::map<std::string, std::string, std::less<>> repeated_;  // JSON by name
  const std::string id_;
  const int64_t created_s_;
  const size_t repeated_scores_max_;
  bool begun_ = false;
  size_t sequence_ = 0;
  Json output_ = Json::array();  // items that are complete
  std::string open_;             // "message", "reasoning"; empty: none is open
  std::string item_id_;
  AnswerPart all_;  // of the open item
  std::vector<TokenScore> held_scores_;
  size_t n_scores_ = 0;  // of all items, also those that are not kept
};

// What a reply may hold beside the usual. Thoughts are never encrypted here: they come as a summary.
Result<void> read_include(const Json& json, Call& call) {
  ASSIGN_OR_RETURN(const auto top_logprobs, integer_field(json, "top_logprobs"));
  if (top_logprobs && (*top_logprobs < 0 || *top_logprobs > 20))
    return invalid("top_logprobs must be between 0 and 20");
  call.top_scores = static_cast<size_t>(top_logprobs.value_or(0));
  call.scores = call.top_scores > 0;
  const Json* include = find_field(json, "include");
  if (include == nullptr) return {};
  if (!include->is_array()) return invalid("'include' must be of type array");
  for (const Json& what : *include) call.scores = call.scores || what == "message.output_text.logprobs";
  return {};
}

}  // namespace

Result<Call> parse_openai_responses(std::string_view body) {
  static constexpr const char* kFields[] = {
      "input", "instructions", "tools",      "tool_choice",    "truncation",     "include", "parallel_tool_calls",
      "text",  "top_logprobs", "background", "max_tool_calls", "client_metadata"};
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  for (const char* name : {"previous_response_id", "conversation", "prompt"})
    if (find_field(json, name) != nullptr)
      return invalid(fmt::format("'{}' is not supported: nothing is stored here", name));
  ASSIGN_OR_RETURN(const auto background, bool_field(json, "background"));
  if (background.value_or(false)) return invalid("'background' is not supported");
  if (const Json* edits = find_field(json, "context_management"); edits != nullptr && !edits->empty())
    return invalid("'context_management' is not supported: the conversation is used as it is sent");
  Call call;
  RETURN_IF_ERROR(parse_openai_options(json, 1, call));
  RETURN_IF_ERROR(check_openai_fields(json, kFields, call));
  call.continue_last_message = false;  // here, an answer is a message of its own
  ASSIGN_OR_RETURN(const auto truncation, string_field(json, "truncation"));
  if (truncation && *truncation != "auto" && *truncation != "disabled")
    return invalid("'truncation' must be 'auto' or 'disabled'");
  call.truncate = truncation == "auto";
  ASSIGN_OR_RETURN(const Json* text, object_field(json, "text"));
  if (text != nullptr && find_field(*text, "verbosity") != nullptr) call.not_applied.emplace_back("text.verbosity");
  RETURN_IF_ERROR(read_include(json, call));
  call.asked = lines_to_repeat(json);
  if (call.asked.size() > kAskedBytesMax)
    return invalid(
        fmt::format("the fields that the response repeats, such as 'tools' and 'metadata', have at most {} "
                    "MiB together",
                    kAskedBytesMax >> 20));
  ASSIGN_OR_RETURN(const auto instructions, string_field(json, "instructions"));
  if (instructions && !instructions->empty()) call.messages.push_back({.role = "system", .content = *instructions});

  Toolbox tools;
  if (const Json* list = find_field(json, "tools"); list != nullptr)
    RETURN_IF_ERROR(add_openai_tools(*list, false, tools, call));
  const Json* input = find_field(json, "input");
  if (input == nullptr) return invalid("input is required");
  if (input->is_string())
    call.messages.push_back({.role = "user", .content = input->get<std::string>()});
  else if (input->is_array() && !input->empty())
    RETURN_IF_ERROR(read_response_items(*input, tools, call));
  else
    return invalid("'input' must be a string or an array of items");
  if (call.list_waiting_tools) tools.list_all();
  RETURN_IF_ERROR(read_openai_choice(json, tools, call));
  call.tools = tools.take();
  return call;
}

std::unique_ptr<AnswerWriter> make_openai_responses_writer(const Call& call, std::string id, int64_t created_s) {
  return make_openai_responses_writer(call, std::move(id), created_s, kRepeatedScoresMax);
}

std::unique_ptr<AnswerWriter> make_openai_responses_writer(const Call& call, std::string id, int64_t created_s,
                                                           size_t repeated_scores_max) {
  return std::make_unique<ResponsesWriter>(call, std::move(id), created_s, repeated_scores_max);
}

}  // namespace spillway
