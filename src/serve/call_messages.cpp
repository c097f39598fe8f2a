// SPDX-License-Identifier: MIT
#include "serve/call_messages.h"

#include <utility>

namespace spillway {

Message plain_message(std::string role, std::string content) {
  Message message;
  message.role = std::move(role);
  message.content = std::move(content);
  return message;
}

std::vector<Message> with_model_messages(const ModelExtras& extras, std::vector<Message> messages) {
  // A system message without words says nothing, as an empty field does.
  std::erase_if(messages, [](const Message& message) { return message.role == "system" && message.content.empty(); });
  std::vector<Message> all;
  auto rest = messages.begin();
  if (rest != messages.end() && rest->role == "system")
    all.push_back(std::move(*rest++));
  else if (!extras.system.empty())
    all.push_back(plain_message("system", extras.system));
  for (const ModelMessage& message : extras.messages) all.push_back(plain_message(message.role, message.content));
  all.insert(all.end(), std::make_move_iterator(rest), std::make_move_iterator(messages.end()));
  return all;
}

std::string_view continued_mark() { return "the-answer-ends-here"; }

std::vector<Message> continued_conversation(const std::string& system, const std::string& prompt) {
  std::vector<Message> messages = {plain_message("user", "go on"),
                                   plain_message("assistant", std::string(continued_mark()))};
  // Templates know no system message here; the user's is the next best place.
  messages.push_back(plain_message("user", system.empty() ? prompt : system + "\n\n" + prompt));
  return messages;
}

}  // namespace spillway
