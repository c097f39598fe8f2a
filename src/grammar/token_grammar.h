// SPDX-License-Identifier: MIT
// A grammar applied to tokens: which of them an answer may go on with. One object per answer.
//
// A token may end within a character; what may complete it is known then. The end of the answer is no token here: see
// may_end().
//
// Bounded: each token of the answer may cost a certain amount of work, saved up to a reserve. An answer that needs more
// ends with OutOfBudget, so that no grammar holds up the others who compute with it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "grammar/grammar_automaton.h"
#include "grammar/token_texts.h"

namespace spillway {

class TokenGrammar {
 public:
  struct Limits {
    GrammarAutomaton::Limits automaton{};
    // One unit takes about 50 ns: 10 ms per token, and a quarter of a second in reserve. A vocabulary of 262,144 tokens
    // within a JSON string costs 170,000 for the first token and next to nothing for the following ones.
    uint64_t work_per_token = 200'000;
    uint64_t work_reserve = 5'000'000;
  };

  TokenGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTexts> texts, const Limits& limits);
  TokenGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTexts> texts)
      : TokenGrammar(std::move(grammar), std::move(texts), Limits{}) {}

  // Whether the text may end where it is. OutOfBudget, as all that follow.
  Result<bool> may_end();

  Result<bool> admits(int32_t token);

  // All that may come next, by number. Valid until the next call.
  Result<const std::vector<bool>*> admitted();

  // Goes on with a token.   InvalidArgument   it is not admitted
  Result<void> accept(int32_t token);

 private:
  using State = GrammarAutomaton::State;
  struct Position {
    State state = GrammarAutomaton::kDead;
    Utf8Decoder within;  // a character that has begun
  };
  struct Remembered {
    State state;
    std::vector<bool> tokens;
  };

  Result<void> check() const;
  std::optional<Position> advance(Position from, int32_t token);
  void walk_tree(std::vector<bool>& tokens);
  void walk_rest(std::vector<bool>& tokens);
  void walk_whole_tokens(std::vector<bool>& tokens);

  const std::shared_ptr<const TokenTexts> texts_;  // shared by all answers of the model
  const Limits limits_;
  GrammarAutomaton automaton_;
  Position here_;
  uint64_t work_ = 0;              // of going through the tree
  uint64_t work_allowed_;          // so far
  std::vector<Remembered> masks_;  // of the last states, most answers stay among a few for long
  std::vector<bool> mask_;
  std::vector<State> path_;
};

}  // namespace spillway
