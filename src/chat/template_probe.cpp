// SPDX-License-Identifier: MIT
#include "chat/template_probe.h"

#include <array>

namespace spillway {
namespace {

// Words that no template contains.
constexpr const char* kUser = "probe-of-user";
constexpr const char* kSystem = "probe-of-system";
constexpr const char* kFunction = "probe_of_function";
constexpr const char* kKey = "probe_of_key";

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

const Message kAsks{.role = "user", .content = kUser};
const Message kInstructs{.role = "system", .content = kSystem};

std::vector<Message> call_and_answer(const std::string& id) {
  const ToolCall call{.id = id, .name = kFunction, .arguments = std::string("{\"") + kKey + "\": \"value\"}"};
  return {kAsks,
          {.role = "assistant", .tool_calls = {call}},
          {.role = "tool", .content = "answer", .tool_name = kFunction, .tool_call_id = id}};
}

class Probe {
 public:
  Probe(Jinja& jinja, const std::string& text, const SpecialTokens& tokens)
      : jinja_(jinja), text_(text), tokens_(tokens) {}

  Result<ProbedTemplate> run() {
    traits_.output = detect_output_format(text_);
    habits_.thinks_before_calls = traits_.output.calls == CallFormat::kHarmony;
    // A conversation that a template refuses shows nothing: "" holds no word.
    look_at_content();
    look_at_system();
    look_at_tools();
    look_at_thinking();
    if (limit_) return tl::unexpected<Status>(*limit_);
    return ProbedTemplate{traits_, habits_};
  }

 private:
  std::string render(const std::vector<Message>& messages, const std::vector<Tool>& tools = {},
                     const PromptOptions& options = {}) {
    if (limit_) return "";
    const auto variables = template_variables(messages, tools, options, habits_, tokens_);
    auto text = jinja_.render(*variables, 0);
    if (text) return std::move(*text);
    if (text.error().code() == Code::kOutOfBudget) limit_ = text.error();
    return "";
  }

  void look_at_content() {
    if (has(render({kAsks}), kUser)) return;
    habits_.typed_content = true;
    habits_.typed_content = has(render({kAsks}), kUser);
  }

  void look_at_system() { habits_.system_role = traits_.system_role = has(render({kInstructs, kAsks}), kSystem); }

  void look_at_tools() {
    const Tool tool{.name = kFunction, .description = "probe", .parameters = R"({"type":"object","properties":{}})"};
    traits_.tools = has(render({kAsks}, {tool}), kFunction) || has(render({kInstructs, kAsks}, {tool}), kFunction);
    const TemplateHabits before = habits_;
    // The usual first. A template may refuse an id of any other form than its own, so the form comes last.
    for (const bool short_ids : {false, true})
      for (const bool null_content : {false, true})
        for (const bool as_text : {false, true}) {
          habits_.short_call_ids = short_ids;
          habits_.null_content_of_calls = null_content;
          habits_.arguments_as_text = as_text;
          if (shows_call(render(call_and_answer("call_0123456789"), {tool}), as_text)) {
            traits_.tools = true;
            return;
          }
        }
    habits_ = before;
  }

  // The function's name and, not as python prints a dict nor quoted twice, its argument.
  static bool shows_call(const std::string& text, bool as_text) {
    const std::string key = kKey;
    const bool json = has(text, "\"" + key + "\"");
    return has(text, kFunction) && (as_text ? json : json || (has(text, key) && !has(text, "'" + key + "'")));
  }

  void look_at_thinking() {
    const OutputFormat& output = traits_.output;
    traits_.thinking = output.calls == CallFormat::kHarmony || !output.think_end.empty();
    const std::string on = render({kAsks}, {}, {.think = true});
    const std::string off = render({kAsks}, {}, {.think = false});
    traits_.thinking_switch = on != off;
    traits_.reasoning_effort =
        render({kAsks}, {}, {.reasoning_effort = "low"}) != render({kAsks}, {}, {.reasoning_effort = "high"});
    traits_.thinking = traits_.thinking || traits_.thinking_switch || traits_.reasoning_effort;
  }

  Jinja& jinja_;
  const std::string& text_;
  const SpecialTokens& tokens_;
  TemplateTraits traits_;
  TemplateHabits habits_;
  std::optional<Status> limit_;
};

}  // namespace

Result<ProbedTemplate> probe_template(Jinja& jinja, const std::string& text, const SpecialTokens& tokens) {
  return Probe(jinja, text, tokens).run();
}

}  // namespace spillway
