// SPDX-License-Identifier: MIT
// A conversation as the text that the model was trained on: by the chat template that came with it, else in the form
// that chat/chat_form.h chooses; a notice says so.
#pragma once

#include <span>
#include <string>

#include "chat/chat_form.h"
#include "cli/generator.h"
#include "engine/engine.h"

namespace spillway {

class ChatPrompt {
 public:
  // `engine` must outlive it. `given_template` comes before the model file's; empty: there is none.
  //   errors of choose_chat_form()
  static Result<ChatPrompt> open(const Engine& engine, const std::string& given_template = "");

  // The prompt for an answer to `messages`, without the token that tokenize() puts in front itself.
  //   errors of ChatTemplate::render
  Result<std::string> format(std::span<const Message> messages) const;

  // Nothing came with the model that says how it chats: a prompt is a text to be gone on with.
  bool completes() const { return form_.completes; }
  const std::string& why() const { return form_.why; }  // see ChatForm

  // `options` for answers: the marks of the form's turns end them, too.
  GenerationOptions for_answers(GenerationOptions options) const;

 private:
  ChatPrompt(const Engine& engine, ChatForm form) : engine_(&engine), form_(std::move(form)) {}

  const Engine* engine_;
  ChatForm form_;
};

}  // namespace spillway
