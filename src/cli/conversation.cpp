// SPDX-License-Identifier: MIT
#include "cli/conversation.h"

#include <fmt/format.h>

namespace spillway {
namespace {

std::string trimmed(const std::string& text) {
  constexpr const char* kBlanks = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

}  // namespace

Conversation::Conversation(Engine& engine, Generator& generator, const ChatPrompt& prompt, ConversationOptions options,
                           Note on_note)
    : engine_(engine),
      generator_(generator),
      prompt_(prompt),
      on_note_(std::move(on_note)),
      system_(std::move(options.system)),
      examples_(std::move(options.examples)),
      messages_(examples_) {}

Result<Generation> Conversation::say(const std::string& message, const GenerationHooks& hooks) {
  const std::vector<Message> before = messages_;
  messages_.push_back({.role = "user", .content = message});
  const auto turn = next_turn();
  if (!turn) {
    messages_ = before;
    return tl::unexpected<Status>(turn.error());
  }
  auto generation = generator_.generate(turn->tokens, hooks);
  if (generation) {
    remember(*turn, *generation);
    return generation;
  }
  messages_ = before;
  // A prompt that was interrupted leaves the context as it was; behind any other error it is not worth a guess.
  const bool intact = generation.error().code() == Code::kCancelled && generator_.n_past() > 0;
  if (!intact) restart_context();
  return generation;
}

void Conversation::clear() {
  messages_ = examples_;
  restart_context();
}

void Conversation::set_system(std::string system) {
  system_ = std::move(system);
  clear();
}

// What to compute for the last of messages_. Drops the oldest turns when the context cannot take it all.
Result<Conversation::Turn> Conversation::next_turn() {
  const size_t n_ctx = engine_.model().n_ctx;
  Turn turn;
  // 1. Behind what the context holds.
  ASSIGN_OR_RETURN(turn.formatted, format());
  const bool goes_on = generator_.n_past() > 0;
  const size_t known_bytes = goes_on ? begins_with_context(turn.formatted) : 0;
  if (known_bytes > 0) {
    ASSIGN_OR_RETURN(turn.tokens, tokenize_rest(turn.formatted, known_bytes));
    const size_t n_held = static_cast<size_t>(generator_.n_past()) + generator_.n_pending();
    if (n_held + turn.tokens.size() < n_ctx) return turn;
  }

  // 2. Anew, with as many of the last turns as leave half of the context for what comes.
  bool dropped = false;
  while (true) {
    ASSIGN_OR_RETURN(turn.tokens, tokenize_rest(turn.formatted, 0));
    if (turn.tokens.size() < n_ctx / 2 || !drop_oldest_turn()) break;
    dropped = true;
    ASSIGN_OR_RETURN(turn.formatted, format());
  }
  if (turn.tokens.size() >= n_ctx)
    return error(Code::kInvalidArgument,
                 fmt::format("the message makes {} tokens and the context holds {}; raise --context",
                             turn.tokens.size(), n_ctx));
  if (goes_on && known_bytes == 0)
    on_note_("the chat template changed what was said before; the conversation is computed anew");
  if (dropped)
    on_note_(fmt::format("the context of {} tokens is full; it goes on with the last {} (see --context)", n_ctx,
                         messages_.size() == 1 ? "message" : fmt::format("{} messages", messages_.size())));
  restart_context();
  return turn;
}

Result<std::string> Conversation::format() const {
  std::vector<Message> all;
  if (!system_.empty()) all.push_back({.role = "system", .content = system_});
  all.insert(all.end(), messages_.begin(), messages_.end());
  return prompt_.format(all);
}

// How much of `formatted` the context holds; 0 when it holds something else. Many templates trim what was said.
size_t Conversation::begins_with_context(const std::string& formatted) const {
  for (const std::string& answer : {answer_text_, trimmed(answer_text_)}) {
    const std::string known = prompt_text_ + answer;
    if (!known.empty() && formatted.starts_with(known)) return known.size();
  }
  return 0;
}

Result<std::vector<TokenId>> Conversation::tokenize_rest(const std::string& formatted, size_t from) const {
  return engine_.tokenize(formatted.substr(from), from == 0, true);
}

// False when the message to be answered is all there is.
bool Conversation::drop_oldest_turn() {
  if (messages_.size() < 3) return false;
  messages_.erase(messages_.begin(), messages_.begin() + 2);
  return true;
}

void Conversation::restart_context() {
  generator_.forget_all();
  prompt_text_.clear();
  answer_text_.clear();
}

void Conversation::remember(const Turn& turn, const Generation& generation) {
  // A stop string that could not be taken out of the context is part of what was said.
  const size_t skipped = generation.skipped_bytes;
  const bool cut = generation.context_text.size() <= skipped + generation.text.size();
  messages_.push_back(
      {.role = "assistant", .content = cut ? generation.text : generation.context_text.substr(skipped)});
  if (generator_.n_past() == 0) return restart_context();
  prompt_text_ = turn.formatted;
  answer_text_ = generation.context_text;
}

}  // namespace spillway
