// SPDX-License-Identifier: MIT
#include "chat/call_reader.h"

#include <algorithm>
#include <array>

#include "chat/json_text.h"
#include "chat/mark_text.h"
#include "chat/pattern_reader.h"
#include "chat/text_tail.h"

namespace spillway {
namespace {

constexpr CallAttempt kMore{CallAttempt::kMore};
constexpr CallAttempt kNone{CallAttempt::kNone};

// False when the object or list that begins here cannot be a call whatever follows: its first key is none of a call's.
// So an answer that happens to be JSON is not held back to its end.
bool may_be_call(std::string_view json) {
  constexpr std::array<std::string_view, 10> kKeys = {"name", "arguments",  "parameters", "function",  "id",
                                                      "type", "tool_calls", "tool_call",  "tool_name", "tool_call_id"};
  while (json.starts_with('[')) json = json.substr(1 + blanks_before(json.substr(1)));
  if (json.empty()) return true;
  if (json[0] != '{') return false;
  json = json.substr(1 + blanks_before(json.substr(1)));
  if (json.empty()) return true;
  if (json[0] != '"') return false;
  json.remove_prefix(1);
  const size_t end = json.find('"');
  return std::any_of(kKeys.begin(), kKeys.end(), [&](std::string_view name) {
    return end == std::string_view::npos ? name.starts_with(json) : json.substr(0, end) == name;
  });
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

CallReader::CallReader(std::optional<CallSyntax> syntax, std::span<const Tool> tools)
    : syntax_(std::move(syntax)), tools_(tools) {
  if (!syntax_ || tools.empty()) return;
  lead_ = syntax_->begin + syntax_->call_begin;
  if (!syntax_->call_is_json) lead_ += syntax_->call.substr(0, syntax_->call.find_first_of("\x01\x02\x03\x04\x05"));
  add_marks();
}

// A text may begin at the first mark of all calls, of one call, or at the one in front of the name: what is around it
// is forgotten at times.
void CallReader::add_marks() {
  const auto begin_at = [&](size_t at) {
    const std::string_view rest = std::string_view(lead_).substr(at);
    if (!begins_with_mark(rest)) return;
    const std::string mark = tokens_of(rest).front();
    const auto same = [&](const CallMark& known) { return known.text == mark; };
    if (std::any_of(marks_.begin(), marks_.end(), same)) return;
    lead_starts_.push_back(at);
    marks_.push_back({mark});
  };
  begin_at(blanks_before(lead_));
  begin_at(syntax_->begin.size() + blanks_before(syntax_->call_begin));
  if (const std::vector<std::string> tokens = tokens_of(lead_); !tokens.empty()) begin_at(lead_.rfind(tokens.back()));
  if (!syntax_->also_begins.empty()) marks_.push_back({syntax_->also_begins});
  if (!lead_starts_.empty()) return;
  // No mark: what calls begin with may begin other text too.
  lead_starts_.push_back(blanks_before(lead_));
  const std::string lead = trimmed(lead_);
  const bool at_start = !syntax_->behind_text;
  if (!lead.empty()) marks_.push_back({lead, at_start});
  if (!lead.empty()) return;
  if (!syntax_->call_is_json) {
    for (const Tool& tool : tools_) marks_.push_back({tool.name, true});
    return;
  }
  marks_.push_back({"{", at_start});
  marks_.push_back({"[", true});
  marks_.push_back({"```json", true});
}

CallAttempt CallReader::read_behind(std::string_view text, const std::string* last) const {
  const bool behind_call = last != nullptr;
  size_t at = blanks_before(text), size = 0;
  bool more = false;
  if (!syntax_->also_begins.empty() && text.substr(at).starts_with(syntax_->also_begins))
    at += syntax_->also_begins.size();
  // 1. What ends the call before, and stands between the two.
  if (behind_call && syntax_->between) {
    const std::string between = with_placeholder(syntax_->call_end, placeholder::kName, *last) + *syntax_->between;
    const Match match = match_literal(text.substr(at), between, size);
    if (match == Match::kMore) more = true;
    if (match == Match::kYes) at += size;
    if (match == Match::kNo && match_literal(text.substr(at), *syntax_->between, size) == Match::kYes) at += size;
  }
  // 2. What begins a call, all of it or the end of it.
  std::vector<size_t> starts = lead_starts_;
  if (behind_call) starts.push_back(syntax_->begin.size());
  std::optional<size_t> begin;
  for (const size_t start : starts) {
    const Match match = match_literal(text.substr(at), std::string_view(lead_).substr(start), size);
    if (match == Match::kMore) more = true;
    if (match == Match::kYes && !begin) begin = at + size;
  }
  if (!begin) return more ? kMore : kNone;
  // 3. The call.
  if (syntax_->call_is_json) {
    CallAttempt attempt = one_of_json(text, *begin);
    return attempt.outcome == CallAttempt::kNone && more ? kMore : attempt;
  }
  const std::string behind = syntax_->call_end + (syntax_->between ? *syntax_->between : "") + syntax_->end;
  PatternReader reader(text.substr(*begin), syntax_->arguments, tools_, schemas_, behind);
  const Match match = reader.read(syntax_->call.substr(syntax_->call.find_first_of("\x01\x02\x03\x04\x05")));
  if (match == Match::kMore || (match == Match::kNo && more))
    return {.outcome = CallAttempt::kMore, .is_call = reader.tool() != nullptr};
  if (match == Match::kNo || reader.tool() == nullptr || !is_json_object(reader.arguments())) return kNone;
  return {CallAttempt::kCalls, *begin + reader.at(), {{.name = reader.tool()->name, .arguments = reader.arguments()}}};
}

CallAttempt CallReader::one_of_json(std::string_view text, size_t at) const {
  at += blanks_before(text.substr(at));
  constexpr std::string_view kFence = "```json";
  if (lead_.empty() && kFence.starts_with(text.substr(at))) return kMore;
  for (const std::string_view fence : {kFence, std::string_view("```")})
    if (lead_.empty() && text.substr(at).starts_with(fence)) {
      at += fence.size();
      at += blanks_before(text.substr(at));
      break;
    }
  const std::string_view json = text.substr(at);
  if (json.empty()) return kMore;
  if (json[0] != '{' && json[0] != '[') return kNone;
  if (lead_.empty() && !may_be_call(json)) return kNone;
  // 1. As the template writes it.
  PatternReader reader(json, syntax_->arguments, tools_, schemas_, "");
  const Match match = reader.read(syntax_->call);
  const auto size = bracketed_size(json);
  if (!size) return {.outcome = CallAttempt::kMore, .is_call = reader.tool() != nullptr};
  if (match == Match::kYes && reader.at() == *size && reader.tool() != nullptr && is_json_object(reader.arguments()))
    return {CallAttempt::kCalls, at + *size, {{.name = reader.tool()->name, .arguments = reader.arguments()}}};
  // 2. In another order, with more in it, or several in a list.
  std::vector<ToolCall> calls = calls_of_json(json.substr(0, *size));
  const bool all_offered = std::all_of(calls.begin(), calls.end(), [&](const ToolCall& call) {
    return std::any_of(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name == call.name; });
  });
  if (calls.empty() || !all_offered) return kNone;
  return {CallAttempt::kCalls, at + *size, std::move(calls)};
}

std::optional<size_t> CallReader::rest_of_calls(std::string_view text, const std::string& last, bool ended) const {
  const CallSyntax& s = *syntax_;
  const std::string call_end = with_placeholder(s.call_end, placeholder::kName, last);
  std::vector<std::string> tails = {call_end + s.end, s.end, call_end};
  if (s.between) tails.insert(tails.begin(), {call_end + *s.between, *s.between});
  if (!s.also_begins.empty()) tails.insert(tails.end(), {"<|eom_id|>", "<|eot_id|>"});
  if (s.call_is_json && lead_.empty()) tails.insert(tails.end(), {"```", ",", ";", "]"});
  size_t longest = blanks_before(text);
  for (const std::string& tail : tails) {
    // As far as it stands there: a part of it, whole marks, is no text either.
    size_t at = blanks_before(text);
    for (const std::string& token : tokens_of(tail)) {
      size_t size = 0;
      const Match match = match_literal(text.substr(at), token, size);
      if (match == Match::kMore && !ended) return std::nullopt;
      if (match != Match::kYes) break;
      at += size;
      at += blanks_before(text.substr(at));
      longest = std::max(longest, at);
    }
  }
  return longest;
}

}  // namespace spillway
