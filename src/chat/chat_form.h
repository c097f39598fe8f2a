// SPDX-License-Identifier: MIT
// How a model is spoken to, and why so: by the template that came with it, else by its family's turns where the
// vocabulary shows them, else by plain ones. Pure.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "chat/template.h"

namespace spillway {

struct ChatFormOptions {
  std::string given;  // a Modelfile's or a request's template, in either language; empty: none
  std::string own;    // the model file's (tokenizer.chat_template); empty: none
  std::function<bool(std::string_view)> has_token;  // whether the vocabulary has this text as one token
  std::string bos_token = {}, eos_token = {};
};

struct ChatForm {
  // Never null. Of a family or plain, it is ours.
  std::unique_ptr<ChatTemplate> chat_template;
  // No template came with the model: it was not made for chats. What has no turns is completed as it is.
  bool completes = false;
  // Marks of turns, which a model that was not made for chats writes instead of ending its answer.
  std::vector<std::string> stop = {};
  // A sentence without a point: which form it is and why.
  std::string why = {};
  // Templates that came with the model and cannot be used, each with the reason. The form is what came next.
  std::vector<std::string> unusable = {};
  bool plain = false;  // "User: …", "Assistant:": an answer begins with a blank
};

//   Busy   the system has no process for a template now; the same again may succeed later
//   errors of ChatTemplate::open() where not even ours can be opened: no memory
Result<ChatForm> choose_chat_form(const ChatFormOptions& options);

}  // namespace spillway
