// SPDX-License-Identifier: MIT
// The turns of families of models, for a model whose file has no template: its vocabulary tells which it knows. Pure
// data.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spillway {

struct ChatFamily {
  const char* name;                      // "Gemma", for people
  std::vector<const char*> tokens = {};  // a vocabulary that has them all is the family's
  // What stands around each message. A family without system_begin has no system message.
  const char *begin = "", *system_begin = nullptr, *system_end = "";
  const char *user_begin = "", *user_end = "", *assistant_begin = "", *assistant_end = "";
  // Instead of assistant_begin, behind the last message.
  const char* answer_begin = nullptr;
  std::vector<const char*> stop = {};  // marks that end an answer, or begin another's turn
};

// The most telling first: some have marks of others, too.
std::span<const ChatFamily> chat_families();

// "User: …", "Assistant: …", with an empty line between them.
const ChatFamily& plain_turns();

// As a Jinja template.
std::string template_of(const ChatFamily& family);

}  // namespace spillway
