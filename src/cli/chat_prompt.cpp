// SPDX-License-Identifier: MIT
#include "cli/chat_prompt.h"

#include <fmt/format.h>

#include "base/notice.h"

namespace spillway {
namespace {

void note_fallback(const Status& status) {
  notice(fmt::format("{}; using llama.cpp's built-in format", status.message()));
}

}  // namespace

ChatPrompt::ChatPrompt(const Engine& engine, const std::string& own_template) : engine_(engine) {
  const ModelInfo& model = engine.model();
  const std::string& text = own_template.empty() ? model.chat_template : own_template;
  if (text.empty()) return;
  auto opened = ChatTemplate::open({.text = text, .bos_token = model.bos_token, .eos_token = model.eos_token});
  if (opened)
    template_ = std::move(*opened);
  else
    note_fallback(opened.error());
}

Result<std::string> ChatPrompt::format(std::span<const Message> messages) const {
  if (template_ == nullptr) return format_built_in(messages);
  auto prompt = template_->render(messages, {}, {});
  if (!prompt && prompt.error().code() == Code::kInvalidArgument) return tl::unexpected<Status>(prompt.error());
  if (!prompt) {
    note_fallback(prompt.error());
    return format_built_in(messages);
  }
  const ModelInfo& model = engine_.model();
  if (model.adds_bos && !model.bos_token.empty() && prompt->text.starts_with(model.bos_token))
    prompt->text.erase(0, model.bos_token.size());
  return std::move(prompt->text);
}

Result<std::string> ChatPrompt::format_built_in(std::span<const Message> messages) const {
  std::vector<ChatMessage> plain;
  for (const Message& message : messages) plain.push_back({message.role, message.content});
  return engine_.apply_chat_template(plain, true);
}

}  // namespace spillway
