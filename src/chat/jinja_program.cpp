// SPDX-License-Identifier: MIT
#include "chat/conversation_json.h"
#include "chat/jinja_pool.h"
#include "chat/template_program.h"

namespace spillway {
namespace {

class JinjaProgram : public TemplateProgram {
 public:
  JinjaProgram(const TemplateOptions& options, std::unique_ptr<JinjaPool> jinja)
      : tokens_{options.bos_token, options.eos_token}, jinja_(std::move(jinja)) {}

  Result<std::string> render(std::span<const Message> messages, std::span<const Tool> tools,
                             const PromptOptions& options, const TemplateHabits& habits) const override {
    ASSIGN_OR_RETURN(const std::string variables, template_variables(messages, tools, options, habits, tokens_));
    return jinja_->render(variables, options.now.value_or(std::time(nullptr)));
  }

  double child_cpu_s() const override { return jinja_->child_cpu_s(); }

 private:
  const SpecialTokens tokens_;
  const std::unique_ptr<JinjaPool> jinja_;
};

}  // namespace

Result<std::unique_ptr<TemplateProgram>> open_jinja_program(const TemplateOptions& options) {
  ASSIGN_OR_RETURN(auto jinja,
                   JinjaPool::open(options.text, {options.limits.render_s_max, options.limits.memory_bytes_max}));
  return std::unique_ptr<TemplateProgram>(std::make_unique<JinjaProgram>(options, std::move(jinja)));
}

}  // namespace spillway
