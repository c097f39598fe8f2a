// SPDX-License-Identifier: MIT
#include "chat/template_probe.h"

#include <fmt/format.h>

#include <array>

#include "chat/format_probe.h"
#include "chat/known_formats.h"
#include "os/machine.h"

namespace spillway {
namespace {

// Of a short conversation: templates that write a page of their own around it have a tenth of that. In what they write
// marks are looked for again and again.
constexpr size_t kRenderedBytesMax = 256u << 10;

// Words that no template contains.
constexpr const char* kUser = "probe-of-user";
constexpr const char* kSystem = "probe-of-system";
constexpr const char* kLater = "probe-of-later";
constexpr const char* kFunction = "probe_of_function";
constexpr const char* kOther = "probe_of_another";
constexpr const char* kKey = "probe_of_key";
constexpr const char* kId = "probeofid";

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

const Message kAsks{.role = "user", .content = kUser};
const Message kAsksMore{.role = "user", .content = kLater};
const Message kInstructs{.role = "system", .content = kSystem};
const Message kSays{.role = "assistant", .content = "answer"};

ToolCall call_of(const char* name, const std::string& id) {
  return {.id = id, .name = name, .arguments = std::string("{\"") + kKey + "\": \"value\"}"};
}
Message answer_to(const ToolCall& call) {
  return {.role = "tool", .content = "answer", .tool_name = call.name, .tool_call_id = call.id};
}
Tool tool_of(const char* name) {
  return {.name = name,
          .description = "probe",
          .parameters = R"({"type":"object","properties":{"probe_of_key":{"type":"string","description":"probe"}}})"};
}

class Probe {
 public:
  Probe(const TemplateProgram& program, const std::string& text, const std::vector<std::string>& end_tokens,
        double seconds_max)
      : program_(program), text_(text), end_tokens_(end_tokens), seconds_max_(seconds_max) {}

  Result<ProbedTemplate> run() {
    // A conversation that a template refuses, or writes far too much of, shows nothing: "" holds no word.
    probe_content();
    probe_system();
    probe_roles();
    probe_tools();
    probe_format();
    probe_thinking();
    traits_.fills_in = program_.fills_in();
    if (limit_) return Failure(*limit_);
    return ProbedTemplate{traits_, habits_};
  }

 private:
  std::string render(const std::vector<Message>& messages, const std::vector<Tool>& tools = {},
                     PromptOptions options = {}) const {
    if (limit_) return "";
    options.now = 0;
    auto text = program_.render(messages, tools, options, habits_);
    if (cpu_s() - began_s_ > seconds_max_)
      limit_ = Status(Code::kOutOfBudget,
                      fmt::format("what the chat template does took more than {} s to find out", seconds_max_));
    if (text) return text->size() <= kRenderedBytesMax ? std::move(*text) : "";
    if (text.error().code() == Code::kOutOfBudget || text.error().code() == Code::kBusy) limit_ = text.error();
    return "";
  }
  double cpu_s() const { return thread_cpu_s() + program_.child_cpu_s(); }

  bool shows(const std::vector<Message>& messages, std::initializer_list<const char*> words) const {
    const std::string text = render(messages);
    for (const char* word : words)
      if (!has(text, word)) return false;
    return true;
  }

  void probe_content() {
    for (const bool tools_as_text : {false, true})
      for (const bool typed : {false, true}) {
        habits_.typed_content = typed;
        habits_.tools_as_text = tools_as_text;
        if (has(render({kAsks}), kUser)) return;
      }
    habits_.typed_content = habits_.tools_as_text = false;
  }

  void probe_system() { habits_.system_role = traits_.system_role = shows({kInstructs, kAsks}, {kSystem}); }

  void probe_roles() {
    habits_.role_twice =
        shows({kAsks, kAsksMore}, {kUser, kLater}) || !shows({kAsks, kSays, kAsksMore}, {kUser, kLater});
    const Message develops{.role = "developer", .content = kLater};
    if (!habits_.system_role) return;
    habits_.developer_role =
        shows({develops, kAsks}, {kLater}) && shows({kInstructs, develops, kAsks}, {kSystem, kLater});
    const Message again{.role = "system", .content = kLater};
    habits_.late_system = shows({kInstructs, again, kAsks}, {kSystem, kLater}) &&
                          shows({kInstructs, kAsks, kSays, again, kAsksMore}, {kSystem, kLater}) &&
                          shows({kInstructs, kAsks, again}, {kSystem, kLater}) &&
                          shows({kAsks, kInstructs}, {kSystem}) &&
                          shows({kAsks, kSays, kInstructs, kAsksMore}, {kSystem});
  }

  void probe_tools() {
    const Tool tool = tool_of(kFunction);
    shows_tools_ = has(render({kAsks}, {tool}), kFunction) || has(render({kInstructs, kAsks}, {tool}), kFunction);
    const TemplateHabits before = habits_;
    // The usual first. A template may refuse an id of any other form than its own, so the form comes last.
    for (const bool short_ids : {false, true})
      for (const bool null_content : {false, true})
        for (const bool as_text : {false, true}) {
          habits_.short_call_ids = short_ids;
          habits_.null_content_of_calls = null_content;
          habits_.arguments_as_text = as_text;
          const ToolCall call = call_of(kFunction, "call_0123456789");
          if (!shows_call(render({kAsks, {.role = "assistant", .tool_calls = {call}}, answer_to(call)}, {tool}),
                          as_text))
            continue;
          shows_calls_ = true;
          probe_calls();
          return;
        }
    habits_ = before;
  }

  // The function's name and, not as python prints a dict nor quoted twice, its argument.
  static bool shows_call(const std::string& text, bool as_text) {
    const std::string key = kKey;
    const bool json = has(text, "\"" + key + "\"");
    return has(text, kFunction) && (as_text ? json : json || (has(text, key) && !has(text, "'" + key + "'")));
  }

  void probe_calls() {
    // Offered is another function, so that the name can only come from the call.
    const std::vector<Tool> tools = {tool_of("probe_of_nothing")};
    const ToolCall one = call_of(kFunction, kId), two = call_of(kOther, "probeofix");
    const std::string text = render({kAsks, {.role = "assistant", .tool_calls = {one}}, answer_to(one)}, tools);
    habits_.counted_call_ids = has(text.substr(0, text.find("answer")), kId) && !names(text, one);
    const std::string both =
        render({kAsks, {.role = "assistant", .tool_calls = {one, two}}, answer_to(one), answer_to(two)}, tools);
    if (has(both, kFunction) && has(both, kOther)) return;
    habits_.several_calls = false;
    const std::string apart =
        render({kAsks, {.role = "assistant", .tool_calls = {one, two}}, answer_to(one), answer_to(two)}, tools);
    habits_.several_calls = !(has(apart, kFunction) && has(apart, kOther));
  }
  // In the call, not only in its answer.
  static bool names(const std::string& text, const ToolCall& call) {
    const size_t key = text.find(kKey), name = text.find(call.name);
    return name < key || (name != std::string::npos && name < text.find("answer"));
  }

  void probe_format() {
    OutputFormat& output = traits_.output;
    output.harmony = is_harmony(text_);
    habits_.thinks_before_calls = output.harmony;
    if (!output.harmony) {
      output = probe_output_format({.render = [this](const auto& messages, const auto& tools,
                                                     const auto& options) { return render(messages, tools, options); },
                                    .end_tokens = end_tokens_,
                                    .known_thoughts = known_thought_marks(text_),
                                    .several_calls = habits_.several_calls});
      if (output.calls && has(text_, "<|python_tag|>") && output.calls->call_is_json)
        output.calls->also_begins = "<|python_tag|>";
      if (!output.calls && shows_tools_) output.calls = known_call_syntax(text_);
      if (!shows_calls_ && output.calls) habits_.calls_in_content = output.calls;
    }
    traits_.tools = output.has_calls() && (shows_tools_ || shows_calls_);
    if (!traits_.tools) output.calls.reset();
  }

  void probe_thinking() {
    const OutputFormat& output = traits_.output;
    traits_.thinking = output.harmony || !output.think_end.empty();
    const std::string on = render({kAsks}, {}, {.think = true});
    const std::string off = render({kAsks}, {}, {.think = false});
    traits_.thinking_switch = on != off;
    traits_.reasoning_effort =
        render({kAsks}, {}, {.reasoning_effort = "low"}) != render({kAsks}, {}, {.reasoning_effort = "high"});
    traits_.thinking = traits_.thinking || traits_.thinking_switch || traits_.reasoning_effort;
  }

  const TemplateProgram& program_;
  const std::string& text_;
  const std::vector<std::string>& end_tokens_;
  const double seconds_max_, began_s_ = cpu_s();
  TemplateTraits traits_;
  TemplateHabits habits_;
  bool shows_tools_ = false, shows_calls_ = false;
  mutable std::optional<Status> limit_;
};

}  // namespace

Result<ProbedTemplate> probe_template(const TemplateProgram& program, const std::string& text,
                                      const std::vector<std::string>& end_tokens, double seconds_max) {
  return Probe(program, text, end_tokens, seconds_max).run();
}

}  // namespace spillway
