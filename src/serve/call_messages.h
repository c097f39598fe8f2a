// SPDX-License-Identifier: MIT
// Which messages a prompt is made of: the request's, and those that come with the model (SYSTEM and MESSAGE of a
// Modelfile). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/message.h"
#include "model/catalog.h"

namespace spillway {

Message plain_message(std::string role, std::string content);

// The model's system message, its other messages, then these. A system message at their beginning takes the place of
// the model's; its other messages stay.
std::vector<Message> with_model_messages(const ModelExtras& extras, std::vector<Message> messages);

// A conversation in which an answer was given and the user goes on. What its template writes behind continued_mark() is
// what stands between such an answer and the next one: the end of the answer, the user's turn, the beginning of
// another.
std::vector<Message> continued_conversation(const std::string& system, const std::string& prompt);
std::string_view continued_mark();

}  // namespace spillway
