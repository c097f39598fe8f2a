// SPDX-License-Identifier: MIT
// Go templates as Ollama runs them. One that names .Messages gets the conversation at once; an older one knows a system
// message, a prompt and a response, and is run for each turn.
#include <fmt/format.h>

#include <algorithm>

#include "base/saturating_sub.h"
#include "chat/conversation.h"
#include "chat/go_conversation.h"
#include "chat/go_run.h"
#include "chat/template_program.h"
#include "os/machine.h"

namespace spillway {
namespace {

bool names_response(const GoPipe& pipe) {
  for (const auto& command : pipe.commands)
    for (const GoArgument& one : command)
      if (one.kind == GoArgument::kField && one.names.front() == "Response") return true;
  return false;
}

// Up to the place of the response.
GoNodes up_to_response(const GoNodes& nodes, bool& cut) {
  GoNodes kept;
  for (const GoNode& node : nodes) {
    if (cut) break;
    // Not with what is within: that would be copied at each level.
    GoNode one{.kind = node.kind, .text = node.text, .pipe = node.pipe};
    one.then = up_to_response(node.then, cut);
    one.otherwise = up_to_response(node.otherwise, cut);
    cut = cut || (node.kind == GoNode::kAction && names_response(node.pipe));
    kept.push_back(std::move(one));
  }
  return kept;
}

// Neighbours of one role are one message, but answers of tools. What the system says is also told apart.
struct Collated {
  std::string system;
  std::vector<Message> messages;
};
Collated collated(std::vector<Message> messages) {
  Collated all;
  for (Message& message : messages) {
    if (message.role == "system") all.system += (all.system.empty() ? "" : "\n\n") + message.content;
    if (!all.messages.empty() && all.messages.back().role == message.role && message.role != "tool")
      all.messages.back().content += "\n\n" + message.content;
    else
      all.messages.push_back(std::move(message));
  }
  return all;
}

class GoProgram : public TemplateProgram {
 public:
  static Result<std::unique_ptr<TemplateProgram>> open(const TemplateOptions& options) {
    ASSIGN_OR_RETURN(GoTemplateText text, parse_go_template(options.text));
    if (!text.reads("messages") && !text.reads("response")) {
      GoNode response{.kind = GoNode::kAction};
      response.pipe.commands = {{{.kind = GoArgument::kField, .names = {"Response"}}}};
      text.root.push_back(std::move(response));
    }
    return std::unique_ptr<TemplateProgram>(new GoProgram(std::move(text), options.limits));
  }

  Result<std::string> render(std::span<const Message> messages, std::span<const Tool> tools,
                             const PromptOptions& options, const TemplateHabits& habits) const override {
    if (!options.suffix.empty() && !messages.empty()) return filled_in(messages.back().content, options);
    Collated all = collated(arranged(messages, habits));
    const std::time_t now = options.now.value_or(std::time(nullptr));
    if (!reads_messages_) return turn_by_turn(all.messages, options, now);
    GoMap data = switches(options);
    data["System"] = all.system;
    ASSIGN_OR_RETURN(data["Messages"], go_messages(all.messages));
    ASSIGN_OR_RETURN(data["Tools"], go_tools(tools));
    return run_go_template(text_, GoValue::map(std::move(data)), now, limits_);
  }

  bool fills_in() const override { return text_.reads("suffix"); }
  // As Ollama does with models whose template shows thoughts.
  bool thinks_unless_told() const override { return text_.reads("thinking"); }

 private:
  GoProgram(GoTemplateText text, const TemplateLimits& limits)
      : text_(std::move(text)),
        reads_messages_(text_.reads("messages")),
        limits_{limits.render_s_max, limits.prompt_bytes_max} {
    bool cut = false;
    last_turn_.named = text_.named;
    last_turn_.root = up_to_response(text_.root, cut);
  }

  static GoMap switches(const PromptOptions& options) {
    GoMap data;
    data["Response"] = "";
    data["Think"] = options.think.value_or(!options.reasoning_effort.empty());
    data["ThinkLevel"] = options.reasoning_effort;
    data["IsThinkSet"] = options.think.has_value() || !options.reasoning_effort.empty();
    return data;
  }

  Result<std::string> filled_in(const std::string& prefix, const PromptOptions& options) const {
    GoMap data = switches(options);
    data["Prompt"] = prefix;
    data["Suffix"] = options.suffix;
    return run_go_template(text_, GoValue::map(std::move(data)), options.now.value_or(std::time(nullptr)), limits_);
  }

  Result<std::string> turn_by_turn(const std::vector<Message>& messages, const PromptOptions& options,
                                   std::time_t now) const {
    std::string out, system, prompt, response;
    const double begin_s = thread_cpu_s();
    // All turns together are within the limits of one run.
    const auto run = [&](const GoTemplateText& text) -> Result<void> {
      GoLimits left = limits_;
      left.seconds_max = limits_.seconds_max - (thread_cpu_s() - begin_s);
      // A short turn is over before it looks at the clock.
      if (left.seconds_max <= 0)
        return error(Code::kOutOfBudget, fmt::format("the template ran for more than {} s", limits_.seconds_max));
      left.output_bytes_max = saturating_sub(limits_.output_bytes_max, out.size());
      GoMap data = switches(options);
      data["System"] = std::exchange(system, {});
      data["Prompt"] = std::exchange(prompt, {});
      data["Response"] = std::exchange(response, {});
      ASSIGN_OR_RETURN(const std::string turn, run_go_template(text, GoValue::map(std::move(data)), now, left));
      out += turn;
      return {};
    };
    for (const Message& message : messages) {
      if (message.role == "system") {
        if (!prompt.empty() || !response.empty()) RETURN_IF_ERROR(run(text_));
        system = message.content;
      } else if (message.role == "user") {
        if (!response.empty()) RETURN_IF_ERROR(run(text_));
        prompt = message.content;
      } else if (message.role == "assistant") {
        response = message.content;
      }
    }
    RETURN_IF_ERROR(run(last_turn_));
    return out;
  }

  const GoTemplateText text_;
  const bool reads_messages_;
  const GoLimits limits_;
  GoTemplateText last_turn_;
};

}  // namespace

Result<std::unique_ptr<TemplateProgram>> open_go_program(const TemplateOptions& options) {
  return GoProgram::open(options);
}

}  // namespace spillway
