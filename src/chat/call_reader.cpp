// SPDX-License-Identifier: MIT
#include "chat/call_reader.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "chat/json_text.h"

namespace spillway {
namespace {

constexpr std::string_view kToolCall = "<tool_call>";
constexpr std::string_view kPythonTag = "<|python_tag|>";
constexpr std::string_view kToolCalls = "[TOOL_CALLS]";
constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>", kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr CallAttempt kMore{CallAttempt::kMore};
constexpr CallAttempt kNone{CallAttempt::kNone};

// A place in a text that may not be whole yet.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  size_t at() const { return at_; }
  std::string_view rest() const { return text_.substr(at_); }
  bool at_end() const { return at_ == text_.size(); }
  void skip(size_t bytes) { at_ += bytes; }
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  bool take(std::string_view part) {
    if (!rest().starts_with(part)) return false;
    at_ += part.size();
    return true;
  }
  // The rest could still become `part`.
  bool could_take(std::string_view part) const { return rest().size() < part.size() && part.starts_with(rest()); }

  // Up to `part`, which is passed; nullopt: it has not come yet.
  std::optional<std::string_view> until(std::string_view part) {
    const size_t found = text_.find(part, at_);
    if (found == std::string_view::npos) return std::nullopt;
    const std::string_view before = text_.substr(at_, found - at_);
    at_ = found + part.size();
    return before;
  }

 private:
  const std::string_view text_;
  size_t at_ = 0;
};

constexpr bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

// False when the object or list that begins here cannot be a call whatever follows: its first key is none of a call's.
// So an answer that happens to be JSON is not held back to its end.
bool may_be_call(std::string_view json) {
  constexpr std::array<std::string_view, 9> kKeys = {"name", "arguments",  "parameters", "function", "id",
                                                     "type", "tool_calls", "tool_call",  "tool_name"};
  Cursor cursor(json);
  while (cursor.take("[")) cursor.skip_blanks();
  if (cursor.at_end()) return true;
  if (!cursor.take("{")) return false;
  cursor.skip_blanks();
  if (cursor.at_end()) return true;
  if (!cursor.take("\"")) return false;
  const auto key = cursor.until("\"");
  return std::any_of(kKeys.begin(), kKeys.end(),
                     [&](std::string_view name) { return key ? *key == name : name.starts_with(cursor.rest()); });
}

// Arguments as JSON text of an object; empty when they are none. Some models write them as a string that holds JSON.
std::string arguments_of(std::string_view json) {
  if (is_json_object(json)) return std::string(json);
  const auto text = string_of(json);
  if (text && is_json_object(*text)) return std::string(without_blanks(*text));
  return "";
}

}  // namespace

std::vector<ToolCall> calls_of_json(std::string_view json) {
  json = without_blanks(json);
  std::vector<ToolCall> calls;
  if (json.starts_with('[')) {
    for (const std::string_view element : elements_of(json)) {
      const std::vector<ToolCall> inner = calls_of_json(element);
      if (inner.empty()) return {};
      calls.insert(calls.end(), inner.begin(), inner.end());
    }
    return calls;
  }
  ToolCall call;
  call.arguments.clear();
  for (const auto& [key, value] : members_of(json)) {
    if (key == "function" && value.starts_with('{')) return calls_of_json(value);
    if (key == "tool_calls" || key == "tool_call") return calls_of_json(value);
    if (key == "name" || key == "tool_name" || key == "function") call.name = string_of(value).value_or("");
    if (key == "arguments" || key == "parameters") {
      call.arguments = arguments_of(value);
      if (call.arguments.empty()) return {};
    }
  }
  if (call.name.empty() || call.arguments.empty()) return {};
  return {call};
}

CallReader::CallReader(CallFormat format, std::span<const Tool> tools) : format_(format), tools_(tools) {
  if (tools.empty()) return;
  switch (format) {
    case CallFormat::kNone:
    case CallFormat::kHarmony:
      break;
    case CallFormat::kJson:
      marks_ = {{"{", true}, {"[", true}, {"```json", true}};
      fillers_ = {"```", ",", ";"};
      break;
    case CallFormat::kLlama3:
      marks_ = {{std::string(kPythonTag)}, {"{", true}, {"[", true}};
      fillers_ = {";", "<|eom_id|>", "<|eot_id|>"};
      break;
    case CallFormat::kHermes:
      marks_ = {{std::string(kToolCall)}};
      fillers_ = {"</tool_call>"};
      break;
    case CallFormat::kQwenXml:
      marks_ = {{std::string(kToolCall)}, {"<function="}};
      fillers_ = {"</tool_call>"};
      break;
    case CallFormat::kGlm:
      marks_ = {{std::string(kToolCall)}};
      break;
    case CallFormat::kMistral:
      marks_ = {{std::string(kToolCalls)}};
      break;
    case CallFormat::kDeepSeekR1:
    case CallFormat::kDeepSeekV31:
      marks_ = {{std::string(kCallsBegin)}, {std::string(kCallBegin)}};
      fillers_ = {std::string(kCallsEnd)};
      break;
  }
}

CallAttempt CallReader::read(std::string_view text) const {
  switch (format_) {
    case CallFormat::kMistral:
      return read_mistral(text);
    case CallFormat::kDeepSeekR1:
    case CallFormat::kDeepSeekV31:
      return read_deepseek(text);
    case CallFormat::kQwenXml:
      return read_xml(text);
    case CallFormat::kGlm:
      return read_glm(text);
    default:
      return read_json(text);
  }
}

// A mark, or none, in front of JSON.
CallAttempt CallReader::read_json(std::string_view text) const {
  Cursor cursor(text);
  for (const CallMark& mark : marks_)
    if (mark.text != "{" && mark.text != "[" && cursor.take(mark.text)) break;
  cursor.skip_blanks();
  if (cursor.at_end()) return kMore;
  const std::string_view json = cursor.rest();
  if ((json[0] != '{' && json[0] != '[') || !may_be_call(json)) return kNone;
  const auto size = bracketed_size(json);
  if (!size) return kMore;
  return attempt(cursor.at() + *size, calls_of_json(json.substr(0, *size)));
}

CallAttempt CallReader::read_mistral(std::string_view text) const {
  Cursor cursor(text);
  cursor.take(kToolCalls);
  cursor.skip_blanks();
  if (cursor.at_end()) return kMore;
  if (cursor.rest()[0] == '[' || cursor.rest()[0] == '{') {
    const auto size = bracketed_size(cursor.rest());
    return size ? attempt(cursor.at() + *size, calls_of_json(cursor.rest().substr(0, *size))) : kMore;
  }
  // NAME[CALL_ID]id[ARGS]{…}; the first two marks may be missing.
  size_t length = 0;
  while (length < cursor.rest().size() && is_name_character(cursor.rest()[length])) ++length;
  std::string name(cursor.rest().substr(0, length));
  cursor.skip(length);
  if (cursor.at_end() || cursor.could_take("[CALL_ID]")) return name.empty() ? kNone : kMore;
  std::string id;
  if (cursor.take("[CALL_ID]")) {
    const auto found = cursor.until("[ARGS]");
    if (!found) return kMore;
    id = *found;
  } else if (!cursor.take("[ARGS]")) {
    if (cursor.could_take("[ARGS]")) return kMore;
  }
  cursor.skip_blanks();
  if (cursor.at_end()) return kMore;
  if (cursor.rest()[0] != '{') return kNone;
  const auto size = bracketed_size(cursor.rest());
  if (!size) return kMore;
  return one_call(cursor.at() + *size, std::move(name), cursor.rest().substr(0, *size));
}

CallAttempt CallReader::read_deepseek(std::string_view text) const {
  Cursor cursor(text);
  if (cursor.take(kCallsBegin)) cursor.skip_blanks();
  if (cursor.at_end() || cursor.could_take(kCallBegin)) return kMore;
  if (!cursor.take(kCallBegin)) return kNone;
  const auto first = cursor.until(kSeparator);
  if (!first) return kMore;
  std::string name(without_blanks(*first));
  cursor.skip_blanks();
  if (cursor.at_end()) return kMore;
  const bool fenced = cursor.rest()[0] != '{';
  if (fenced) {
    // What came first is the type; the name follows, then the arguments in a block.
    const auto line = cursor.until("\n");
    if (!line) return kMore;
    name = without_blanks(*line);
    if (cursor.at_end() || cursor.could_take("```json")) return kMore;
    if (!cursor.take("```json")) return kNone;
    cursor.skip_blanks();
    if (cursor.at_end()) return kMore;
    if (cursor.rest()[0] != '{') return kNone;
  }
  const auto size = bracketed_size(cursor.rest());
  if (!size) return kMore;
  const std::string_view arguments = cursor.rest().substr(0, *size);
  cursor.skip(*size);
  cursor.skip_blanks();
  if (fenced && cursor.could_take("```")) return kMore;
  if (fenced && cursor.take("```")) cursor.skip_blanks();
  if (cursor.could_take(kCallEnd)) return kMore;
  cursor.take(kCallEnd);
  return one_call(cursor.at(), std::move(name), arguments);
}

// <tool_call> may be missing in front: some models forget it.
CallAttempt CallReader::read_xml(std::string_view text) const {
  Cursor cursor(text);
  if (cursor.take(kToolCall)) cursor.skip_blanks();
  if (cursor.at_end() || cursor.could_take("<function=")) return kMore;
  if (!cursor.take("<function=")) return kNone;
  const auto name = cursor.until(">");
  if (!name) return kMore;
  const std::string function(without_blanks(*name));
  if (!is_offered(function)) return kNone;
  std::string arguments = "{";
  while (true) {
    cursor.skip_blanks();
    if (cursor.at_end() || cursor.could_take("</function>") || cursor.could_take("<parameter=")) return kMore;
    if (cursor.take("</function>")) return one_call(cursor.at(), function, arguments + "}");
    if (!cursor.take("<parameter=")) return kNone;
    const auto key = cursor.until(">");
    auto value = key ? cursor.until("</parameter>") : std::nullopt;
    if (!value) return kMore;
    if (value->starts_with('\n')) value->remove_prefix(1);
    if (value->ends_with('\n')) value->remove_suffix(1);
    if (arguments.size() > 1) arguments += ", ";
    arguments += json_string(*key) + ": " + argument_json(function, std::string(*key), *value);
  }
}

CallAttempt CallReader::read_glm(std::string_view text) const {
  Cursor cursor(text);
  cursor.take(kToolCall);
  cursor.skip_blanks();
  size_t length = 0;
  while (length < cursor.rest().size() && is_name_character(cursor.rest()[length])) ++length;
  const std::string name(cursor.rest().substr(0, length));
  cursor.skip(length);
  if (cursor.at_end()) return kMore;
  if (!is_offered(name)) return kNone;
  std::string arguments = "{";
  while (true) {
    cursor.skip_blanks();
    if (cursor.at_end() || cursor.could_take("</tool_call>") || cursor.could_take("<arg_key>")) return kMore;
    if (cursor.take("</tool_call>")) return one_call(cursor.at(), name, arguments + "}");
    if (!cursor.take("<arg_key>")) return kNone;
    const auto key = cursor.until("</arg_key>");
    if (!key) return kMore;
    cursor.skip_blanks();
    if (cursor.at_end() || cursor.could_take("<arg_value>")) return kMore;
    if (!cursor.take("<arg_value>")) return kNone;
    const auto value = cursor.until("</arg_value>");
    if (!value) return kMore;
    if (arguments.size() > 1) arguments += ", ";
    arguments += json_string(*key) + ": " + argument_json(name, std::string(*key), *value);
  }
}

CallAttempt CallReader::attempt(size_t consumed, std::vector<ToolCall> calls) const {
  const bool all_offered =
      std::all_of(calls.begin(), calls.end(), [&](const ToolCall& call) { return is_offered(call.name); });
  if (calls.empty() || !all_offered) return kNone;
  return {CallAttempt::kCalls, consumed, std::move(calls)};
}

CallAttempt CallReader::one_call(size_t consumed, std::string name, std::string_view arguments) const {
  if (!is_json_object(arguments)) return kNone;
  return attempt(consumed, {{.name = std::move(name), .arguments = std::string(arguments)}});
}

bool CallReader::is_offered(std::string_view name) const {
  return std::any_of(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == name; });
}

// A value that was written without quotes, as JSON: text where the tool's schema wants text, else what it looks like.
std::string CallReader::argument_json(const std::string& function, const std::string& key,
                                      std::string_view value) const {
  const auto tool = std::find_if(tools_.begin(), tools_.end(), [&](const Tool& t) { return t.name == function; });
  const auto schema = nlohmann::json::parse(tool->parameters, nullptr, false);
  const auto property = nlohmann::json::json_pointer("/properties") / key;
  const bool known = schema.is_object() && schema.contains(property) && schema[property].is_object();
  const bool is_text = known && schema[property].value("type", nlohmann::json()) == "string";
  const std::string_view bare = without_blanks(value);
  if (!is_text && is_json(bare)) return std::string(bare);
  return json_string(value);
}

}  // namespace spillway
