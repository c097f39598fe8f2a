// SPDX-License-Identifier: MIT
// A chat with a model. What was said stays in the context as far as the scheduler finds it there again: a turn computes
// what is new of the conversation. Where the context cannot take it all, its oldest messages are left out.
//
// Threads: one. Lifetime: the model and the options outlive it; nobody else asks the model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/run/run_call.h"
#include "serve/answer_reader.h"

namespace spillway {

struct ConversationHooks {
  std::function<bool(const AnswerPart& part)> on_part{};  // false: nobody reads it any more
  std::function<void(size_t done, size_t total)> on_prompt{};
  std::function<bool()> is_interrupted{};
};

class Conversation {
 public:
  using Note = std::function<void(const std::string& sentence)>;

  // `model` has a scheduler.
  Conversation(const LoadedModel& model, const RunOptions& options, Note on_note);

  // Says `message`, a user's, and waits for the answer. After an error the message is not part of the conversation.
  //   Cancelled   interrupted before anything of the answer was there
  //   errors of prepare_answer, and of the scheduler
  Result<Generation> say(Message message, const ConversationHooks& hooks);

  // Forgets what was said, but neither the system message nor the examples.
  void clear() { messages_.clear(); }

  // Takes another system message; what was said is forgotten.
  void set_system(std::string system);

  void set_thinking(ThinkingChoice choice) { options_.thinking = std::move(choice); }

 private:
  Result<Generation> answer(const ConversationHooks& hooks);

  const LoadedModel& model_;
  RunOptions options_;
  const Note on_note_;
  std::vector<Message> messages_;  // what was said; without system message and examples
  bool told_of_cut_ = false;
};

}  // namespace spillway
