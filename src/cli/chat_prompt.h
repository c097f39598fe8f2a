// SPDX-License-Identifier: MIT
// A conversation as the text that the model was trained on: by its own chat template; where it has none, or one that
// cannot be used, by libllama's built-in formats, and a notice says so.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "chat/template.h"
#include "engine/engine.h"

namespace spillway {

class ChatPrompt {
 public:
  // `engine` must outlive it. `own_template` comes before the model file's; empty: there is none.
  explicit ChatPrompt(const Engine& engine, const std::string& own_template = "");

  // The prompt for an answer to `messages`, without the token that tokenize() puts in front itself.
  //   InvalidArgument   the template refuses the conversation; its own sentence
  //   errors of Engine::apply_chat_template
  Result<std::string> format(std::span<const Message> messages) const;

 private:
  Result<std::string> format_built_in(std::span<const Message> messages) const;

  const Engine& engine_;
  std::unique_ptr<ChatTemplate> template_;  // nullptr: the built-in formats
};

}  // namespace spillway
