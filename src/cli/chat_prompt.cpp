// SPDX-License-Identifier: MIT
#include "cli/chat_prompt.h"

#include <fmt/format.h>

#include "base/notice.h"

namespace spillway {

Result<ChatPrompt> ChatPrompt::open(const Engine& engine, const std::string& given_template) {
  const ModelInfo& model = engine.model();
  const auto has_token = [&](std::string_view text) {
    const auto tokens = engine.tokenize(std::string(text), false, true);
    return tokens && tokens->size() == 1;
  };
  ASSIGN_OR_RETURN(ChatForm form, choose_chat_form({.given = given_template,
                                                    .own = model.chat_template,
                                                    .has_token = has_token,
                                                    .bos_token = model.bos_token,
                                                    .eos_token = model.eos_token}));
  for (const std::string& sentence : form.unusable) notice(fmt::format("{}; it chats {}", sentence, form.why));
  return ChatPrompt(engine, std::move(form));
}

Result<std::string> ChatPrompt::format(std::span<const Message> messages) const {
  ASSIGN_OR_RETURN(Prompt prompt, form_.chat_template->render(messages, {}, {}));
  const ModelInfo& model = engine_->model();
  if (model.adds_bos && !model.bos_token.empty() && prompt.text.starts_with(model.bos_token))
    prompt.text.erase(0, model.bos_token.size());
  return std::move(prompt.text);
}

GenerationOptions ChatPrompt::for_answers(GenerationOptions options) const {
  options.skips_first_blanks = form_.plain;
  for (const std::string& mark : form_.stop) {
    options.stop.push_back(mark);
    // Tokens that are marks have no text of their own here.
    if (const auto tokens = engine_->tokenize(mark, false, true); tokens && tokens->size() == 1)
      options.end_tokens.push_back(tokens->front());
  }
  return options;
}

}  // namespace spillway
