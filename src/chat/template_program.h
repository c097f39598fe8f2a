// SPDX-License-Identifier: MIT
// A chat template of either language, as a program that turns conversations into text.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "chat/message.h"
#include "chat/template.h"
#include "chat/template_habits.h"

namespace spillway {

// Thread-safe.
class TemplateProgram {
 public:
  virtual ~TemplateProgram() = default;

  //   errors of ChatTemplate::render()
  virtual Result<std::string> render(std::span<const Message> messages, std::span<const Tool> tools,
                                     const PromptOptions& options, const TemplateHabits& habits) const = 0;

  // What was computed so far by other processes for it, while nothing is rendered.
  virtual double child_cpu_s() const { return 0; }

  // PromptOptions::suffix counts.
  virtual bool fills_in() const { return false; }

  // Where nothing is said about thinking, it is told to think.
  virtual bool thinks_unless_told() const { return false; }
};

//   errors of ChatTemplate::open()
Result<std::unique_ptr<TemplateProgram>> open_jinja_program(const TemplateOptions& options);
Result<std::unique_ptr<TemplateProgram>> open_go_program(const TemplateOptions& options);

}  // namespace spillway
