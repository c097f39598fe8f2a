// SPDX-License-Identifier: MIT
// A chat with a model. What was said stays in the context: each turn computes only the text that is new.
//
// The context's text is compared with what the chat template makes of the whole conversation. While the former is the
// beginning of the latter, the rest is all there is to compute; otherwise (a template that rewrites earlier turns, a
// full context) the context starts anew with the system message and the last turns, and `on_note` says so.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/chat_prompt.h"
#include "cli/generator.h"

namespace spillway {

struct ConversationOptions {
  std::string system{};
  std::vector<Message> examples{};  // as if they had been said
};

class Conversation {
 public:
  using Note = std::function<void(const std::string& sentence)>;

  // `engine`, `generator` and `prompt` must outlive it; nobody else uses the generator.
  Conversation(Engine& engine, Generator& generator, const ChatPrompt& prompt, ConversationOptions options,
               Note on_note);

  // Says `message` and generates the answer. After an error the message is not part of the conversation.
  //   errors of Generator::generate and ChatPrompt::format
  Result<Generation> say(const std::string& message, const GenerationHooks& hooks);

  // Forgets what was said, but neither the system message nor the examples.
  void clear();

  // Takes another system message; what was said is forgotten.
  void set_system(std::string system);

 private:
  struct Turn {
    std::string formatted;        // the whole conversation by the chat template
    std::vector<TokenId> tokens;  // of it, what the context does not hold
  };

  Result<Turn> next_turn();
  Result<std::string> format() const;
  Result<std::vector<TokenId>> tokenize_rest(const std::string& formatted, size_t from) const;
  size_t begins_with_context(const std::string& formatted) const;
  bool drop_oldest_turn();
  void restart_context();
  void remember(const Turn& turn, const Generation& generation);

  Engine& engine_;
  Generator& generator_;
  const ChatPrompt& prompt_;
  const Note on_note_;
  std::string system_;
  const std::vector<Message> examples_;
  std::vector<Message> messages_;          // examples and what was said; without the system message
  std::string prompt_text_, answer_text_;  // what the context holds: the last turn as formatted, and its answer
};

}  // namespace spillway
