// SPDX-License-Identifier: MIT
#include "grammar/token_grammar.h"

#include <algorithm>

namespace spillway {
namespace {

constexpr size_t kMasksMax = 4;

}  // namespace

TokenGrammar::TokenGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTexts> texts,
                           const Limits& limits)
    : texts_(std::move(texts)),
      limits_(limits),
      automaton_(std::move(grammar), limits.automaton),
      work_allowed_(limits.work_reserve) {
  here_.state = automaton_.start();
}

Result<void> TokenGrammar::check() const {
  if (automaton_.is_over())
    return error(Code::kOutOfBudget, "the grammar is too ambiguous: too many ways to read the answer so far");
  if (work_ / 4 + automaton_.work() > work_allowed_)
    return error(Code::kOutOfBudget, "the grammar takes too long per token");
  return {};
}

Result<bool> TokenGrammar::may_end() {
  RETURN_IF_ERROR(check());
  return !here_.within.is_within() && automaton_.accepts(here_.state);
}

Result<bool> TokenGrammar::admits(int32_t token) {
  const bool admitted = advance(here_, token).has_value();
  RETURN_IF_ERROR(check());
  return admitted;
}

Result<void> TokenGrammar::accept(int32_t token) {
  const auto next = advance(here_, token);
  RETURN_IF_ERROR(check());
  if (!next) return error(Code::kInvalidArgument, "a token that the grammar does not admit");
  here_ = *next;
  if (automaton_.remembers_much()) {
    here_.state = automaton_.forget_others(here_.state);
    masks_.clear();
  }
  work_allowed_ =
      std::min(work_allowed_ + limits_.work_per_token, work_ / 4 + automaton_.work() + limits_.work_reserve);
  return check();
}

std::optional<TokenGrammar::Position> TokenGrammar::advance(Position from, int32_t token) {
  if (token < 0 || static_cast<size_t>(token) >= texts_->size()) return std::nullopt;
  const std::string& text = texts_->text(token);
  if (automaton_.waits_for_token(from.state) && !from.within.is_within())
    if (const State to = automaton_.step_token(from.state, token); to != GrammarAutomaton::kDead)
      return Position{to, {}};
  if (text.empty()) return std::nullopt;
  for (const char c : text) {
    const auto took = from.within.take(static_cast<unsigned char>(c));
    if (took == Utf8Decoder::Took::kInvalid) return std::nullopt;
    if (took == Utf8Decoder::Took::kPart) continue;
    from.state = automaton_.step(from.state, from.within.value());
    if (from.state == GrammarAutomaton::kDead) return std::nullopt;
  }
  if (from.within.is_within() && !automaton_.admits_within(from.state, from.within.first(), from.within.last()))
    return std::nullopt;
  return from;
}

Result<const std::vector<bool>*> TokenGrammar::admitted() {
  RETURN_IF_ERROR(check());
  const bool within = here_.within.is_within();
  const auto known =
      std::find_if(masks_.begin(), masks_.end(), [&](const Remembered& one) { return one.state == here_.state; });
  if (!within && known != masks_.end()) {
    std::rotate(masks_.begin(), known, known + 1);
    return &masks_.front().tokens;
  }
  std::vector<bool> tokens(texts_->size());
  if (within) {
    walk_rest(tokens);
  } else {
    walk_tree(tokens);
    if (automaton_.waits_for_token(here_.state)) walk_whole_tokens(tokens);
  }
  RETURN_IF_ERROR(check());
  if (within) {
    mask_ = std::move(tokens);
    return &mask_;
  }
  if (masks_.size() == kMasksMax) masks_.pop_back();
  masks_.insert(masks_.begin(), {here_.state, std::move(tokens)});
  return &masks_.front().tokens;
}

// Where a text cannot go on, nothing that begins with it can.
void TokenGrammar::walk_tree(std::vector<bool>& tokens) {
  const auto nodes = texts_->nodes();
  path_.assign(1, here_.state);
  for (uint32_t at = 0; at + 1 < nodes.size();) {
    const TokenTexts::Node& node = nodes[at];
    ++work_;
    if ((work_ & 0xFFu) == 0 && !check()) return;
    State state = here_.state;
    if (node.depth > 0) {
      state = automaton_.step(path_[node.depth - 1], node.character);
      if (state == GrammarAutomaton::kDead) {
        at = node.after;
        continue;
      }
      path_.resize(node.depth);
      path_.push_back(state);
    }
    const TokenTexts::Node& next = nodes[at + 1];
    for (uint32_t i = node.tokens_begin; i < next.tokens_begin; ++i)
      tokens[static_cast<size_t>(texts_->order()[i])] = true;
    for (uint32_t i = node.parts_begin; i < next.parts_begin; ++i) {
      const TokenTexts::Part& part = texts_->parts()[i];
      if (automaton_.admits_within(state, part.first, part.last)) tokens[static_cast<size_t>(part.token)] = true;
    }
    ++at;
  }
}

// A character has begun: only tokens that begin with the rest of one can follow.
void TokenGrammar::walk_rest(std::vector<bool>& tokens) {
  for (const int32_t token : texts_->continuing()) {
    ++work_;
    if (!check()) return;
    if (advance(here_, token)) tokens[static_cast<size_t>(token)] = true;
  }
}

void TokenGrammar::walk_whole_tokens(std::vector<bool>& tokens) {
  for (size_t token = 0; token < tokens.size(); ++token) {
    ++work_;
    if (!check()) return;
    if (!tokens[token] && automaton_.step_token(here_.state, static_cast<int32_t>(token)) != GrammarAutomaton::kDead)
      tokens[token] = true;
  }
}

}  // namespace spillway
