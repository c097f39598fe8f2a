// SPDX-License-Identifier: MIT
#include "chat/chat_form.h"

#include <fmt/format.h>

#include <algorithm>

#include "chat/chat_families.h"

namespace spillway {
namespace {

Result<std::unique_ptr<ChatTemplate>> open(const ChatFormOptions& options, const std::string& text) {
  return ChatTemplate::open({.text = text, .bos_token = options.bos_token, .eos_token = options.eos_token});
}

const ChatFamily* family_of(const ChatFormOptions& options) {
  if (!options.has_token) return nullptr;
  for (const ChatFamily& family : chat_families())
    if (std::all_of(family.tokens.begin(), family.tokens.end(), options.has_token)) return &family;
  return nullptr;
}

}  // namespace

Result<ChatForm> choose_chat_form(const ChatFormOptions& options) {
  ChatForm form;
  // 1. What came with the model: its Modelfile's, then its file's.
  for (const auto& [text, why, what] :
       {std::tuple{&options.given, "by the template of its Modelfile", "the template of its Modelfile"},
        std::tuple{&options.own, "by the template of its file", "its file's chat template"}}) {
    if (text->empty()) continue;
    auto opened = open(options, *text);
    // It can be used, later: another form would be one that the model was not made for.
    if (!opened && opened.error().code() == Code::kBusy) return Failure(opened.error());
    if (!opened) {
      form.unusable.push_back(fmt::format("{} cannot be used ({})", what, opened.error().message()));
      continue;
    }
    form.chat_template = std::move(*opened);
    form.why = why;
    return form;
  }

  // 2. What its vocabulary shows, or plain turns.
  const ChatFamily* family = family_of(options);
  const ChatFamily& turns = family != nullptr ? *family : plain_turns();
  const char* none = form.unusable.empty() ? "it has no template" : "its template cannot be used";
  form.completes = form.unusable.empty();
  form.plain = family == nullptr;
  form.stop.assign(turns.stop.begin(), turns.stop.end());
  form.why =
      family == nullptr
          ? fmt::format("as plain \"User:\" and \"Assistant:\" turns: {}, and its vocabulary no marks of turns", none)
          : fmt::format("by the turns of {}: {}, and its vocabulary has {}", family->name, none,
                        family->tokens.front());
  ASSIGN_OR_RETURN(form.chat_template, open(options, template_of(turns)));
  return form;
}

}  // namespace spillway
