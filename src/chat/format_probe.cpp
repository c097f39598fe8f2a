// SPDX-License-Identifier: MIT
#include "chat/format_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/saturating_sub.h"
#include "chat/items_probe.h"
#include "chat/json_text.h"
#include "chat/mark_text.h"
#include "chat/output_parser.h"
#include "chat/text_tail.h"

namespace spillway {
namespace {

using nlohmann::json;

// Words that no template contains. Keys are in the order of the alphabet: some templates sort them.
constexpr const char *kUser = "probe-of-user", *kText = "probe-of-text", *kThought = "probe-of-thought";
constexpr const char *kFirst = "probe_call_one", *kSecond = "probe_call_two";
constexpr const char *kFirstId = "probeid01", *kSecondId = "probeid02";

// Tokens that end answers in well-known families, for where the vocabulary is not at hand.
constexpr std::array<std::string_view, 15> kEndTokens = {"<|im_end|>",
                                                         "<|eot_id|>",
                                                         "<|eom_id|>",
                                                         "<|end|>",
                                                         "<|endoftext|>",
                                                         "<|end_of_text|>",
                                                         "</s>",
                                                         "<end_of_turn>",
                                                         "<turn|>",
                                                         "<|END_OF_TURN_TOKEN|>",
                                                         "<｜end▁of▁sentence｜>",
                                                         "<|eot|>",
                                                         "<|endofturn|>",
                                                         "<|return|>",
                                                         "<|call|>"};

// A template may write what it likes. Marks and calls are short: each piece of an answer is searched for them.
constexpr size_t kCallBytesMax = 4096;

const Message kAsks{.role = "user", .content = kUser};

Tool probe_tool(const char* name) {
  return {
      .name = name,
      .description = "probe",
      .parameters = fmt::format(
          R"({{"type":"object","properties":{{"{}":{{"type":"string","description":"d"}},"{}":{{"type":"string","description":"d"}},"{}":{{"type":"integer","description":"d"}},"{}":{{"type":"boolean","description":"d"}},"{}":{{"type":"object","description":"d","additionalProperties":{{"type":"string"}}}},"{}":{{"type":"array","description":"d","items":{{"type":"string"}}}}}},"required":[]}})",
          probe_key::kText, probe_key::kMore, probe_key::kNumber, probe_key::kFlag, probe_key::kObject,
          probe_key::kList)};
}

std::string with(std::string text, std::string_view part, char placeholder) {
  for (size_t at = 0; !part.empty() && (at = text.find(part, at)) != std::string::npos; ++at)
    text.replace(at, part.size(), 1, placeholder);
  return text;
}

// What two calls in a row have in common but for a number that counts them, which becomes a placeholder in both.
bool same_but_index(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return x == y || (x >= '0' && x <= '8' && y == x + 1);
         });
}
void mark_index(std::string& a, std::string_view b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i]) a[i] = placeholder::kIndex;
}

class Prober {
 public:
  explicit Prober(const FormatProbe& probe) : probe_(probe), tools_{probe_tool(kFirst), probe_tool(kSecond)} {}

  OutputFormat run() {
    const std::string prompt = render({kAsks}, true);
    if (prompt.find(kUser) == std::string::npos) return {};
    prompt_ = behind_user(prompt);
    text_ = behind_user(render({kAsks, {.role = "assistant", .content = kText}}, false));
    probe_thoughts();
    probe_text();
    if (format_.think_begin.size() + format_.think_end.size() > kCallBytesMax)
      format_.think_begin = format_.think_end = "";
    if (format_.text_begin.size() > kCallBytesMax) format_.text_begin.clear();
    auto calls = call_syntax();
    if (calls) {
      probe_text_and_call(*calls);
      format_.calls = std::move(calls);
      if (!reads_back()) format_.calls.reset();
    }
    return format_;
  }

 private:
  std::string render(const std::vector<Message>& messages, bool for_answer, std::optional<bool> think = {}) const {
    PromptOptions options;
    options.add_generation_prompt = for_answer;
    options.think = think;
    return probe_.render(messages, tools_, options);
  }

  // What follows the last thing the user said.
  static std::string behind_user(const std::string& text) {
    const size_t at = text.rfind(kUser);
    return at == std::string::npos ? "" : text.substr(at + std::string_view(kUser).size());
  }

  // Of `text`, which follows the user: where the answer begins. Behind the prompt; or behind what a prompt ends with,
  // where more than that stands in between.
  size_t answer_start(std::string_view text) const {
    const size_t same = common_prefix(prompt_, text);
    if (same == prompt_.size()) return same;
    const std::string_view rest = text.substr(same);
    for (size_t size = std::min({rest.size(), prompt_.size() - same, kCallBytesMax}); size > 3; --size)
      if (std::string_view(prompt_).ends_with(rest.substr(0, size)) && mark_start(rest, size) == size)
        return same + size;
    return same;
  }

  // ---- Thoughts ----

  void probe_thoughts() {
    for (const std::optional<bool> think : {std::optional<bool>(), std::optional(true)}) {
      const std::string text =
          behind_user(render({kAsks, {.role = "assistant", .content = kText, .thinking = kThought}}, false, think));
      if (take_thought(text, text.find(kText))) return;
    }
    // Some show thoughts in front of calls alone. What follows such a thought begins the call, too.
    const Message calls{.role = "assistant", .thinking = kThought, .tool_calls = {call(kFirst, kFirstId, "{}")}};
    const Message plain{.role = "assistant", .tool_calls = calls.tool_calls};
    for (const bool answered : {false, true}) {
      std::vector<Message> a = {kAsks, calls}, b = {kAsks, plain};
      if (answered) {
        a.push_back(answer_of(kFirst, kFirstId));
        b.push_back(a.back());
      }
      const std::string text = behind_user(render(a, false)), without = behind_user(render(b, false));
      const size_t end = text.find(kFirst, std::min(text.find(kThought), text.size()));
      const size_t same = without.find(kFirst);
      if (end == std::string::npos || same == std::string::npos) continue;
      const std::string front = without.substr(0, same), begin = front.substr(answer_start(front));
      const size_t size = common_suffix(begin, text.substr(0, end));
      if (take_thought(text, end - size)) return;
    }
    probe_empty_thought();
    if (!format_.think_end.empty()) return;
    format_.think_begin = probe_.known_thoughts.begin;
    format_.think_end = probe_.known_thoughts.end;
  }

  // `end`: where what follows the thought begins.
  bool take_thought(const std::string& text, size_t end) {
    const size_t at = text.find(kThought);
    if (at == std::string::npos || end == std::string::npos || end < at) return false;
    const std::string head = text.substr(0, at);
    const size_t thought_end = at + std::string_view(kThought).size();
    const std::string text_head = text_.substr(0, std::min(text_.find(kText), text_.size()));
    // 1. Behind it. What begins the text belongs to that.
    std::string behind = text.substr(thought_end, end - thought_end);
    const std::string begins = trimmed(text_head.substr(answer_start(text_head)));
    if (!begins.empty() && trimmed(behind).ends_with(begins) && trimmed(behind) != begins)
      behind = trimmed(behind).substr(0, trimmed(behind).size() - begins.size());
    format_.think_end = trimmed(behind);
    if (format_.think_end.empty()) return false;
    // 2. In front of it: what no text without a thought has, else what no prompt has, else what the prompt ends with.
    // Messages of the past may begin otherwise than the prompt ends, so what only they have is asked first.
    const std::string own = trimmed(head.substr(answer_start(head)));
    if (head.starts_with(text_head) && !trimmed(head.substr(text_head.size())).empty())
      format_.think_begin = trimmed(head.substr(text_head.size()));
    else if (!own.empty())
      format_.think_begin = own;
    else if (head == text_head && !trimmed(prompt_.substr(std::min(head.size(), prompt_.size()))).empty())
      format_.think_begin = trimmed(prompt_.substr(head.size()));
    else if (const auto tokens = tokens_of(head); !tokens.empty())
      format_.think_begin = begins_with_mark(tokens.back()) || tokens.size() == 1
                                ? tokens.back()
                                : tokens[tokens.size() - 2] + tokens.back();
    return true;
  }

  // A prompt that forbids thoughts may hold an empty one.
  void probe_empty_thought() {
    const std::string off = behind_user(render({kAsks}, true, false)), on = behind_user(render({kAsks}, true, true));
    const std::string extra = off.substr(common_prefix(on, off));
    const std::string whole = extra.empty() ? "" : off.substr(common_prefix(prompt_, off));
    for (const std::string& text : {whole, extra}) {
      const auto tokens = tokens_of(text);
      if (tokens.size() != 2 || !begins_with_mark(tokens[0]) || !begins_with_mark(tokens[1])) continue;
      format_.think_begin = tokens[0];
      format_.think_end = tokens[1];
      return;
    }
  }

  // `text`, which follows the prompt, without an empty thought in front.
  std::string without_thought(std::string text, size_t limit = std::string::npos) const {
    if (format_.think_end.empty()) return text;
    const size_t at = text.rfind(format_.think_end, limit);
    return at == std::string::npos ? text : text.substr(at + format_.think_end.size());
  }

  // ---- Text ----

  void probe_text() {
    const size_t at = text_.find(kText);
    if (at == std::string::npos) return;
    const std::string head = text_.substr(0, at);
    text_tail_ = text_.substr(at + std::string_view(kText).size());
    const std::string begins = without_thought(head.substr(answer_start(head)));
    if (trimmed(begins).empty()) return;
    format_.text_begin = begins.substr(blanks_before(begins));
  }

  // `text` without what ends the turn.
  std::string without_turn_end(const std::string& text) const {
    const size_t same = common_suffix(text, text_tail_);
    const size_t end = cut_at_end(text).size();
    if (end < text.size()) return text.substr(0, end_without_blanks(text, std::min(end, text.size() - same)));
    if (const auto tokens = tokens_of(text);
        !tokens.empty() && begins_with_mark(tokens.back()) && tokens.back().find("eos") != std::string::npos)
      return text.substr(0, end_without_blanks(text, text.rfind(tokens.back())));
    if (!trimmed(text_tail_).empty() && trimmed(text.substr(text.size() - same)).empty()) {
      // Something of its own ends a turn that calls.
      const auto tokens = tokens_of(text);
      if (tokens.size() > 1 && begins_with_mark(tokens.back()) && !closes(tokens.back()))
        return text.substr(0, end_without_blanks(text, text.rfind(tokens.back())));
      return text.substr(0, end_without_blanks(text, text.size()));
    }
    return text.substr(0, end_without_blanks(text, text.size() - same));
  }

  // A mark that ends what another began.
  static bool closes(const std::string& mark) {
    return mark.starts_with("</") || mark.find("end") != std::string::npos || mark.find("END") != std::string::npos;
  }

  // ---- Calls ----

  static ToolCall call(const char* name, const char* id, std::string arguments) {
    return {.id = id, .name = name, .arguments = std::move(arguments)};
  }
  static Message answer_of(const char* name, const char* id) {
    return {.role = "tool", .content = "answer", .tool_name = name, .tool_call_id = id};
  }

  // What the template writes behind its prompt for these calls; "" where it does not show them.
  std::string written(const std::vector<ToolCall>& calls, const std::string& text = "") const {
    std::vector<Message> messages = {kAsks, {.role = "assistant", .content = text, .tool_calls = calls}};
    if (shape_ > 0)
      for (const ToolCall& one : calls) messages.push_back(answer_of(one.name.c_str(), one.id.c_str()));
    if (shape_ > 1) {
      messages.push_back({.role = "assistant", .content = "done"});
      messages.push_back({.role = "user", .content = "more"});
    }
    const std::string whole = render(messages, false);
    const size_t user = whole.find(kUser, whole.rfind(kUser) == std::string::npos ? 0 : whole.rfind(kUser));
    if (user == std::string::npos) return "";
    std::string behind = whole.substr(user + std::string_view(kUser).size());
    behind.erase(0, answer_start(behind));
    const size_t name = behind.find(calls.front().name);
    if (name == std::string::npos) return "";
    return without_thought(std::move(behind), name);
  }
  std::string written(const std::string& arguments) const { return written({call(kFirst, kFirstId, arguments)}); }

  std::optional<CallSyntax> call_syntax() {
    const std::string arguments = fmt::format(R"({{"{}": "{}"}})", probe_key::kText, probe_value::kText);
    std::string one;
    for (shape_ = 0; shape_ < 3; ++shape_) {
      one = written(arguments);
      if (one.find(probe_value::kText) != std::string::npos) break;
    }
    if (shape_ == 3) return std::nullopt;
    // 1. The notation of the arguments, and where they are.
    CallSyntax syntax;
    std::string span;
    if (const auto found = json_arguments(one, arguments)) {
      span = *found;
      syntax.arguments.spaced = span.find("\":\"") == std::string::npos;
    } else {
      const ItemsProbe probe{.written = [this](const std::string& a) { return written(a); },
                             .without_turn_end = [this](const std::string& t) { return without_turn_end(t); },
                             .name = kFirst};
      auto items = probe_items(probe);
      if (!items) return std::nullopt;
      syntax.arguments = std::move(items->arguments);
      span = std::move(items->span);
    }
    // 2. One call: what is around its placeholders.
    const std::string generic = with_placeholders(one, span);
    if (generic.find(placeholder::kArguments) == std::string::npos ||
        generic.find(placeholder::kName) == std::string::npos)
      return std::nullopt;
    size_t begin = generic.find_first_of("\x01\x02\x03");
    size_t end = std::max(generic.find(placeholder::kArguments), generic.find(placeholder::kName)) + 1;
    if (const size_t id = generic.find(placeholder::kId); id != std::string::npos) end = std::max(end, id + 1);
    syntax.call_is_json = syntax.arguments.is_json && widen_to_json(one, span, generic, begin, end);
    if (end - begin > kCallBytesMax) return std::nullopt;
    syntax.call = generic.substr(begin, end - begin);
    if (syntax.call.ends_with(std::string("(") + placeholder::kArguments)) as_python_call(syntax.arguments);
    const std::string first = generic.substr(0, begin), last = generic.substr(end);
    last_ = last;
    const std::string closing = without_turn_end(last);
    // 3. Two calls: what is between them.
    std::string two;
    if (probe_.several_calls)
      two = with_placeholders(written({call(kFirst, kFirstId, arguments), call(kSecond, kSecondId, arguments)}), span);
    split(syntax, first, closing, two);
    close_object(syntax);
    if (is_long(syntax)) return std::nullopt;  // a grammar of many tools repeats it for each
    return syntax;
  }

  static bool is_long(const CallSyntax& syntax) {
    size_t bytes = 0;
    for (const Pattern* pattern : {&syntax.begin, &syntax.call_begin, &syntax.call, &syntax.call_end, &syntax.end})
      bytes += pattern->size();
    bytes += syntax.between.value_or("").size();
    const ValueSyntax& values = syntax.arguments.values;
    for (const MarkedItems* items : {&syntax.arguments.items, &values.object, &values.list})
      for (const Pattern* pattern :
           {&items->empty, &items->begin, &items->between, &items->end, &items->key, &items->value_end})
        bytes += pattern->size();
    for (const std::string* text : {&values.text_open, &values.text_close, &values.other_open, &values.other_close,
                                    &values.true_word, &values.false_word, &values.null_word})
      bytes += text->size();
    return bytes > kCallBytesMax;
  }

  // Some templates forget the last brace of a call. Models do not.
  static void close_object(CallSyntax& syntax) {
    const size_t open = syntax.call_begin.rfind("{\"");
    if (syntax.call_is_json || !syntax.arguments.is_json || open == std::string::npos ||
        syntax.call_end.starts_with('}'))
      return;
    Pattern object = syntax.call_begin.substr(open) + syntax.call + "}";
    std::string sample = with(object, std::string(1, placeholder::kArguments), '0');
    for (const char one : {placeholder::kName, placeholder::kId, placeholder::kIndex})
      sample = with(std::move(sample), std::string(1, one), '1');
    if (!json::accept(sample)) return;
    syntax.call_begin.resize(open);
    syntax.call = std::move(object);
    syntax.call_is_json = true;
  }

  // NAME(KEY=VALUE, …) is python, whatever a template makes of it: some forget quotes, or commas, or quote all.
  static void as_python_call(ArgumentSyntax& arguments) {
    MarkedItems& items = arguments.items;
    ValueSyntax& values = arguments.values;
    std::string& key = items.key;
    if (arguments.is_json || key.size() < 2 || key[0] != placeholder::kKey || key[1] != '=') return;
    const bool single = (key + values.text_open).ends_with('\'');
    key.resize(2);
    items.value_end.clear();
    items.end.clear();
    if (items.between.find(',') == std::string::npos) items.between = ", ";
    while (items.between[0] != ',') items.between.erase(0, 1);
    values.text_open = values.text_close = single ? "'" : "\"";
    values.other_open = values.other_close = "";
    values.text = ValueSyntax::Text::kPython;
    values.nested = ValueSyntax::Nested::kPython;
    if (values.true_word == "true") return;
    values.true_word = "True";
    values.false_word = "False";
    values.null_word = "None";
  }

  // The text of a JSON object that is these arguments.
  static std::optional<std::string> json_arguments(const std::string& text, const std::string& arguments) {
    const json expected = json::parse(arguments);
    for (size_t at = text.find('{'); at != std::string::npos; at = text.find('{', at + 1)) {
      const auto size = bracketed_size(std::string_view(text).substr(at, kCallBytesMax));
      if (!size) continue;
      const std::string object = text.substr(at, *size);
      if (object.find(probe_value::kText) == std::string::npos || nests_deeper(object)) continue;
      if (json::parse(object, nullptr, false) == expected) return object;
    }
    return std::nullopt;
  }

  static std::string with_placeholders(std::string text, const std::string& span) {
    text = with(std::move(text), span, placeholder::kArguments);
    for (const char* name : {kFirst, kSecond}) text = with(std::move(text), name, placeholder::kName);
    for (const char* id : {kFirstId, kSecondId}) text = with(std::move(text), id, placeholder::kId);
    return text;
  }

  // Where the call is a JSON object: from its first brace to its last.
  static bool widen_to_json(const std::string& text, const std::string& span, const std::string& generic, size_t& begin,
                            size_t& end) {
    const size_t arguments = text.find(span);
    for (size_t at = text.find('{'); at < arguments; at = text.find('{', at + 1)) {
      const auto size = bracketed_size(std::string_view(text).substr(at, kCallBytesMax));
      if (!size) continue;
      const std::string object = text.substr(at, *size);
      if (object.find(kFirst) == std::string::npos || nests_deeper(object)) continue;
      const json value = json::parse(object, nullptr, false);
      if (!value.is_object()) continue;
      if (value.contains(kFirst)) return false;  // the name is a key
      const size_t open = generic.find(with_placeholders(object, span));
      if (open == std::string::npos) return false;
      begin = open;
      end = open + with_placeholders(object, span).size();
      return true;
    }
    return false;
  }

  void split(CallSyntax& syntax, const std::string& first, const std::string& last, const std::string& two) const {
    syntax.call_begin = first;
    syntax.call_end = last;
    if (two.compare(0, first.size(), first) != 0) return;
    const size_t size = syntax.call.size();
    if (!same_but_index(two.substr(first.size(), size), syntax.call) &&
        two.compare(first.size(), size, syntax.call) != 0)
      return;
    // The next one like it.
    const size_t behind = first.size() + size;
    size_t next = behind;
    while (next + size <= two.size() && !same_but_index(syntax.call, std::string_view(two).substr(next, size))) ++next;
    if (next + size > two.size()) return;
    std::string begin = first, between = two.substr(behind, next - behind), closing = last;
    // Some end all calls only where there are several.
    if (const std::string longer = without_turn_end(two.substr(next + size)); longer.starts_with(last))
      closing = longer;
    mark_index(syntax.call, std::string_view(two).substr(next, size));
    // What begins a call is what the first and the second have in front of them, what ends one likewise.
    for (size_t i = 1; i <= std::min(begin.size(), between.size()); ++i) {
      char &a = begin[begin.size() - i], &b = between[between.size() - i];
      if (a != b && same_but_index({&a, 1}, {&b, 1})) a = b = placeholder::kIndex;
      if (a != b) break;
    }
    size_t begins = common_suffix(begin, between), ends = common_prefix(closing, between);
    if (begins + ends > between.size()) {
      size_t cut = ends;
      for (size_t at = ends + 1; at-- > between.size() - begins;) {
        if (at < between.size() && (begins_with_mark(std::string_view(between).substr(at)) || between[at] == '{')) {
          cut = at;
          break;
        }
      }
      ends = cut;
      begins = between.size() - cut;
    }
    syntax.begin = begin.substr(0, begin.size() - begins);
    syntax.call_begin = begin.substr(begin.size() - begins);
    syntax.call_end = closing.substr(0, ends);
    syntax.between = between.substr(ends, between.size() - begins - ends);
    syntax.end = closing.substr(ends);
    for (const std::string& token : probe_.end_tokens)
      if (!token.empty() && between.find(token) != std::string::npos) {
        // The first call ends the answer.
        syntax.call_begin = first;
        syntax.call_end = last;
        syntax.begin = syntax.end = "";
        syntax.between.reset();
        return;
      }
  }

  // ---- Text and a call ----

  void probe_text_and_call(CallSyntax& syntax) {
    const std::string arguments = fmt::format(R"({{"{}": "{}"}})", probe_key::kText, probe_value::kText);
    const std::string both = written({call(kFirst, kFirstId, arguments)}, kText);
    const size_t text = both.find(kText), name = both.find(kFirst);
    const std::string begin = syntax.begin + syntax.call_begin;
    const auto add_end = [&](const std::string& mark) {
      if (mark.empty() || ends_answer(mark)) return;
      format_.text_ends.push_back(mark);
    };
    if (text < name && name != std::string::npos) {
      syntax.behind_text = true;
      // In front of the call as it stands behind text: what is more than usual ends the text.
      const size_t from = text + std::string_view(kText).size();
      std::string front = both.substr(from, name - from);
      if (syntax.call_is_json) front = front.substr(0, std::min(front.rfind('{'), front.size()));
      const std::string usual = trimmed(begin.substr(0, begin.find_first_of("\x01\x02\x03\x04")));
      front = trimmed(front);
      if (front.ends_with(usual)) add_end(trimmed(front.substr(0, front.size() - usual.size())));
    }
    if (!format_.text_begin.empty()) {
      const size_t same = common_suffix(text_tail_, last_);
      add_end(trimmed(cut_at_end(text_tail_.substr(0, text_tail_.size() - same))));
    }
  }

  std::string cut_at_end(const std::string& text) const {
    size_t end = text.size();
    for (const std::string& token : probe_.end_tokens)
      if (!token.empty()) end = std::min(end, text.find(token));
    for (const std::string_view token : kEndTokens) end = std::min(end, text.find(token));
    return text.substr(0, end);
  }
  bool ends_answer(const std::string& mark) const { return cut_at_end(mark).size() < mark.size(); }

  // ---- Proof ----

  // What the template writes of calls is read as those calls, and as nothing else.
  bool reads_back() {
    const std::string plain =
        fmt::format(R"({{"{}": "{}", "{}": 918273}})", probe_key::kText, probe_value::kText, probe_key::kNumber);
    ToolCall first = call(kFirst, kFirstId, plain);
    const ToolCall second = call(kSecond, kSecondId, "{}");
    const std::string text = fmt::format(R"({{"{}": "{}"}})", probe_key::kText, probe_value::kText);
    // As a python call is written, which is not always as the template shows two of its arguments.
    const bool python = format_.calls->arguments.values.text == ValueSyntax::Text::kPython;
    if (!reads({first})) {
      if (!python) return false;
      first.arguments = text;
      if (!reads({first})) return false;
    }
    if (!reads({call(kFirst, kFirstId, "{}")})) return false;
    if (format_.calls->between && !reads({first, second})) format_.calls->between.reset();
    separate_list();
    return true;
  }

  // Some templates (Ollama's of Mistral) forget the commas of a JSON list of calls. Models do not.
  void separate_list() {
    CallSyntax& s = *format_.calls;
    const bool is_list = s.call_is_json && s.call_end.empty() && s.begin.ends_with('[') && s.end.starts_with(']');
    if (is_list && s.between && trimmed(*s.between).empty()) s.between = ", ";
  }

  bool reads(const std::vector<ToolCall>& calls) const {
    const std::string text = without_turn_end_of_answer(written(calls));
    if (text.empty()) return false;
    const auto parser = OutputParser::make({.format = format_, .tools = tools_});
    OutputDelta all = parser->push(text);
    OutputDelta rest = parser->finish();
    for (ToolCall& one : rest.tool_calls) all.tool_calls.push_back(std::move(one));
    if (!all.content.empty() || !rest.content.empty() || all.tool_calls.size() != calls.size()) return false;
    return std::equal(calls.begin(), calls.end(), all.tool_calls.begin(), [](const ToolCall& a, const ToolCall& b) {
      return a.name == b.name && json::parse(a.arguments) == json::parse(b.arguments, nullptr, false);
    });
  }

  // The marks of the turn's end are as long as they were behind one call.
  std::string without_turn_end_of_answer(const std::string& text) const {
    const size_t end = saturating_sub(last_.size(), without_turn_end(last_).size());
    return text.substr(0, saturating_sub(text.size(), end));
  }

  const FormatProbe& probe_;
  const std::vector<Tool> tools_;
  OutputFormat format_;
  std::string prompt_, text_;  // behind the user: in front of an answer; with one of text
  std::string text_tail_;      // behind that text
  std::string last_;           // behind the placeholders of one call
  int shape_ = 0;              // of the conversation that shows calls: as the last message, answered, or long ago
};

}  // namespace

OutputFormat probe_output_format(const FormatProbe& probe) { return Prober(probe).run(); }

}  // namespace spillway
