// SPDX-License-Identifier: MIT
#include "chat/template.h"

#include <fmt/format.h>

#include "base/mutex.h"
#include "chat/conversation_json.h"
#include "chat/jinja.h"
#include "chat/template_probe.h"

namespace spillway {
namespace {

// A word that no conversation contains.
constexpr const char* kUnfinished = "unfinished-4f1c90b2";

bool ends_with_open_thought(const std::string& text, const OutputFormat& format) {
  if (format.think_begin.empty()) return false;
  const size_t end = text.find_last_not_of(" \t\r\n");
  return end != std::string::npos && std::string_view(text).substr(0, end + 1).ends_with(format.think_begin);
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  static Result<std::unique_ptr<ChatTemplate>> open(TemplateOptions options) {
    if (options.text.empty()) return error(Code::kUnsupported, "the chat template is empty");
    const JinjaLimits limits{options.limits.render_s_max, options.limits.memory_bytes_max};
    ASSIGN_OR_RETURN(auto jinja, Jinja::parse(options.text, limits));
    const SpecialTokens tokens{options.bos_token, options.eos_token};
    TemplateTokens probed_tokens{tokens, options.end_tokens};
    probed_tokens.ends.push_back(options.eos_token);
    ASSIGN_OR_RETURN(const ProbedTemplate probed, probe_template(*jinja, options.text, probed_tokens));
    return std::unique_ptr<ChatTemplate>(
        new JinjaChatTemplate(std::move(options), limits, tokens, probed, std::move(jinja)));
  }

  Result<Prompt> render(std::span<const Message> messages, std::span<const Tool> tools,
                        const PromptOptions& options) const override {
    if (options.continue_last_message && continues_last_message(messages)) return go_on(messages, tools, options);
    ASSIGN_OR_RETURN(std::string text, text_of(messages, tools, options));
    const bool opens = options.add_generation_prompt && ends_with_open_thought(text, probed_.traits.output);
    return Prompt{.text = std::move(text), .opens_thinking = opens};
  }

  const TemplateTraits& traits() const override { return probed_.traits; }
  const std::string& text() const override { return options_.text; }

 private:
  JinjaChatTemplate(TemplateOptions options, JinjaLimits limits, SpecialTokens tokens, ProbedTemplate probed,
                    std::unique_ptr<Jinja> jinja)
      : options_(std::move(options)),
        limits_(limits),
        tokens_(std::move(tokens)),
        probed_(std::move(probed)),
        jinja_(std::move(jinja)) {}

  Result<std::string> text_of(std::span<const Message> messages, std::span<const Tool> tools,
                              const PromptOptions& options) const {
    ASSIGN_OR_RETURN(const std::string variables,
                     template_variables(messages, tools, options, probed_.habits, tokens_));
    ASSIGN_OR_RETURN(std::string text, run(variables, options.now.value_or(std::time(nullptr))));
    if (text.size() > options_.limits.prompt_bytes_max)
      return error(Code::kOutOfBudget, fmt::format("the chat template wrote {} bytes; {} is the most", text.size(),
                                                   options_.limits.prompt_bytes_max));
    return text;
  }

  // 1. As the template writes a message of the past, up to where a mark behind its text stands: so the marks around an
  // answer are the template's own. 2. Where the template drops or changes the mark: behind the prompt for an answer.
  Result<Prompt> go_on(std::span<const Message> messages, std::span<const Tool> tools,
                       const PromptOptions& options) const {
    const bool thinks = messages.back().content.empty();
    std::vector<Message> marked(messages.begin(), messages.end());
    (thinks ? marked.back().thinking : marked.back().content) += kUnfinished;
    PromptOptions finished = options;
    finished.add_generation_prompt = false;
    if (auto text = text_of(marked, tools, finished)) {
      const size_t end = text->find(kUnfinished);
      if (end != std::string::npos && text->find(kUnfinished, end + 1) == std::string::npos) {
        text->resize(end);
        return Prompt{.text = std::move(*text), .opens_thinking = thinks, .within_answer = !thinks};
      }
    }
    PromptOptions fresh = options;
    if (!thinks && probed_.traits.thinking_switch) fresh.think = false;
    ASSIGN_OR_RETURN(std::string text, text_of(messages.first(messages.size() - 1), tools, fresh));
    const OutputFormat& format = probed_.traits.output;
    const bool opened = ends_with_open_thought(text, format);
    if (thinks) {
      if (!opened) text += format.think_begin + "\n";
      return Prompt{.text = text + messages.back().thinking, .opens_thinking = true};
    }
    if (opened) text += messages.back().thinking + "\n" + format.think_end + "\n\n";
    return Prompt{.text = text + messages.back().content, .within_answer = true};
  }

  Result<std::string> run(const std::string& variables, std::time_t now) const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (jinja_ == nullptr) {
      ASSIGN_OR_RETURN(jinja_, Jinja::parse(options_.text, limits_));
    }
    auto text = jinja_->render(variables, now);
    // An interpreter that was stopped in the middle is not used again.
    if (!text && text.error().code() == Code::kOutOfBudget) jinja_.reset();
    return text;
  }

  const TemplateOptions options_;
  const JinjaLimits limits_;
  const SpecialTokens tokens_;
  const ProbedTemplate probed_;
  mutable Mutex mutex_;
  mutable std::unique_ptr<Jinja> jinja_ GUARDED_BY(mutex_);
};

}  // namespace

bool continues_last_message(std::span<const Message> messages) {
  if (messages.empty()) return false;
  const Message& last = messages.back();
  return last.role == "assistant" && last.tool_calls.empty() && !(last.content.empty() && last.thinking.empty());
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::open(TemplateOptions options) {
  return JinjaChatTemplate::open(std::move(options));
}

}  // namespace spillway
