// SPDX-License-Identifier: MIT
#include "chat/template.h"

#include <fmt/format.h>

#include <unordered_map>

#include "base/jinja_text.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "chat/conversation.h"
#include "chat/template_probe.h"
#include "chat/template_program.h"

namespace spillway {
namespace {

// A word that no conversation contains.
constexpr const char* kUnfinished = "unfinished-4f1c90b2";

bool ends_with_open_thought(const std::string& text, const OutputFormat& format) {
  if (format.think_begin.empty()) return false;
  const size_t end = text.find_last_not_of(" \t\r\n");
  return end != std::string::npos && std::string_view(text).substr(0, end + 1).ends_with(format.think_begin);
}

// Templates that met a limit while they were looked at. That settles what they are, as long as this process runs: each
// other look would cost the limit again. A conversation that is too long for a template says nothing about others.
class StoppedTemplates {
 public:
  static std::string key_of(const TemplateOptions& options) {
    const TemplateLimits& limits = options.limits;
    return sha256_hex(fmt::format("{} {} {} {}\n{}", limits.render_s_max, limits.looks_s_max, limits.memory_bytes_max,
                                  limits.prompt_bytes_max, options.text));
  }
  std::optional<Status> find(const std::string& key) const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    const auto found = stopped_.find(key);
    return found == stopped_.end() ? std::nullopt : std::optional(found->second);
  }
  void add(const std::string& key, const Status& why) EXCLUDES(mutex_) {
    constexpr size_t kStoppedMax = 1000;  // clients may send templates of their own
    const MutexLock lock(mutex_);
    if (stopped_.size() >= kStoppedMax) stopped_.clear();
    stopped_.emplace(key, why);
  }

 private:
  mutable Mutex mutex_;
  std::unordered_map<std::string, Status> stopped_ GUARDED_BY(mutex_);
};

class ProgramTemplate : public ChatTemplate {
 public:
  static Result<std::unique_ptr<ChatTemplate>> open(TemplateOptions options) {
    if (options.text.empty()) return error(Code::kUnsupported, "the chat template is empty");
    static StoppedTemplates stopped;
    const std::string key = StoppedTemplates::key_of(options);
    if (auto why = stopped.find(key)) return Failure(std::move(*why));
    auto opened = look_at(std::move(options));
    if (!opened && opened.error().code() == Code::kOutOfBudget) stopped.add(key, opened.error());
    return opened;
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
  ProgramTemplate(TemplateOptions options, ProbedTemplate probed, std::unique_ptr<TemplateProgram> program)
      : options_(std::move(options)), probed_(std::move(probed)), program_(std::move(program)) {}

  static Result<std::unique_ptr<ChatTemplate>> look_at(TemplateOptions options) {
    ASSIGN_OR_RETURN(auto program, is_jinja(options.text) ? open_jinja_program(options) : open_go_program(options));
    std::vector<std::string> ends = options.end_tokens;
    ends.push_back(options.eos_token);
    ASSIGN_OR_RETURN(ProbedTemplate probed, probe_template(*program, options.text, ends, options.limits.looks_s_max));
    return std::unique_ptr<ChatTemplate>(
        new ProgramTemplate(std::move(options), std::move(probed), std::move(program)));
  }

  Result<std::string> text_of(std::span<const Message> messages, std::span<const Tool> tools,
                              const PromptOptions& options) const {
    PromptOptions told = options;
    if (!told.think && program_->thinks_unless_told()) told.think = true;
    auto rendered = program_->render(messages, tools, told, probed_.habits);
    // Some fail where a parameter has no description.
    if (!rendered && rendered.error().code() == Code::kUnsupported && !tools.empty())
      if (auto described = program_->render(messages, with_descriptions(tools), told, probed_.habits))
        rendered = std::move(described);
    if (!rendered) return rendered;
    std::string& text = *rendered;
    if (text.size() > options_.limits.prompt_bytes_max)
      return error(Code::kOutOfBudget, fmt::format("the chat template wrote {} bytes; {} is the most", text.size(),
                                                   options_.limits.prompt_bytes_max));
    return rendered;
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

  const TemplateOptions options_;
  const ProbedTemplate probed_;
  const std::unique_ptr<TemplateProgram> program_;
};

}  // namespace

bool continues_last_message(std::span<const Message> messages) {
  if (messages.empty()) return false;
  const Message& last = messages.back();
  return last.role == "assistant" && last.tool_calls.empty() && !(last.content.empty() && last.thinking.empty());
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::open(TemplateOptions options) {
  return ProgramTemplate::open(std::move(options));
}

}  // namespace spillway
