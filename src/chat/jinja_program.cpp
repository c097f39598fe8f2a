// SPDX-License-Identifier: MIT
#include "base/mutex.h"
#include "chat/conversation_json.h"
#include "chat/jinja.h"
#include "chat/template_program.h"

namespace spillway {
namespace {

class JinjaProgram : public TemplateProgram {
 public:
  static Result<std::unique_ptr<TemplateProgram>> open(const TemplateOptions& options) {
    const JinjaLimits limits{options.limits.render_s_max, options.limits.memory_bytes_max};
    ASSIGN_OR_RETURN(auto jinja, Jinja::parse(options.text, limits));
    return std::unique_ptr<TemplateProgram>(new JinjaProgram(options, limits, std::move(jinja)));
  }

  Result<std::string> render(std::span<const Message> messages, std::span<const Tool> tools,
                             const PromptOptions& options, const TemplateHabits& habits) const override {
    ASSIGN_OR_RETURN(const std::string variables, template_variables(messages, tools, options, habits, tokens_));
    return run(variables, options.now.value_or(std::time(nullptr)));
  }

 private:
  JinjaProgram(const TemplateOptions& options, JinjaLimits limits, std::unique_ptr<Jinja> jinja)
      : text_(options.text), limits_(limits), tokens_{options.bos_token, options.eos_token}, jinja_(std::move(jinja)) {}

  Result<std::string> run(const std::string& variables, std::time_t now) const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (jinja_ == nullptr) {
      ASSIGN_OR_RETURN(jinja_, Jinja::parse(text_, limits_));
    }
    auto text = jinja_->render(variables, now);
    // An interpreter that was stopped in the middle is not used again.
    if (!text && text.error().code() == Code::kOutOfBudget) jinja_.reset();
    return text;
  }

  const std::string text_;
  const JinjaLimits limits_;
  const SpecialTokens tokens_;
  mutable Mutex mutex_;
  mutable std::unique_ptr<Jinja> jinja_ GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<TemplateProgram>> open_jinja_program(const TemplateOptions& options) {
  return JinjaProgram::open(options);
}

}  // namespace spillway
