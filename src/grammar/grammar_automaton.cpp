// SPDX-License-Identifier: MIT
#include "grammar/grammar_automaton.h"

#include <algorithm>
#include <utility>

namespace spillway {
namespace {

using Op = Instruction::Op;

// What an entry of a hash map takes beside itself, roughly.
constexpr size_t kEntryBytes = 48;

uint64_t key_of(uint32_t high, uint32_t low) { return uint64_t{high} << 32u | low; }

bool contains(const CharacterRanges& ranges, char32_t first, char32_t last) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), last,
                                      [](char32_t c, const auto& range) { return c < range.first; });
  return after != ranges.begin() && std::prev(after)->second >= first;
}

}  // namespace

GrammarAutomaton::GrammarAutomaton(std::shared_ptr<const Grammar> grammar, const Limits& limits)
    : grammar_(std::move(grammar)), limits_(limits) {
  forget();
}

void GrammarAutomaton::forget() {
  states_.assign(1, Known{});  // kDead
  state_numbers_.clear();
  stacks_.assign(1, StackEntry{kAccept, 0});  // empty
  stack_numbers_.clear();
  further_.clear();
  memory_bytes_ = 0;
}

bool GrammarAutomaton::Seen::add(uint64_t key) {
  if (n_ * 2 >= entries_.size()) {
    const std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(entries_.size() * 2));
    n_ = 0;
    for (const Entry& entry : old)
      if (entry.round == round_) add(entry.key);
  }
  const uint64_t mask = entries_.size() - 1;
  for (uint64_t at = (key * 0x9E3779B97F4A7C15u) >> 40u;; ++at) {
    Entry& entry = entries_[at & mask];
    if (entry.round == round_ && entry.key == key) return false;
    if (entry.round == round_) continue;
    entry = {key, round_};
    ++n_;
    return true;
  }
}

Result<void> GrammarAutomaton::try_out(const std::shared_ptr<const Grammar>& grammar, const Limits& limits) {
  constexpr size_t kStates = 200;
  constexpr uint64_t kWork = 500'000;
  GrammarAutomaton automaton(grammar, limits);
  std::vector<State> found = {automaton.start()};
  if (found[0] == kDead && !automaton.is_over()) return error(Code::kInvalidArgument, "no text satisfies the grammar");
  bool leads_on = automaton.accepts(found[0]) || automaton.waits_for_token(found[0]);
  const auto is_tried = [&] { return found.size() >= kStates || automaton.work() > kWork; };
  for (size_t i = 0; i < found.size() && !is_tried(); ++i)
    for (const char32_t c : grammar->class_starts()) {
      if (is_tried()) break;
      const State to = automaton.step(found[i], c);
      if (to == kDead) continue;
      leads_on = true;
      if (std::find(found.begin(), found.end(), to) == found.end()) found.push_back(to);
    }
  if (automaton.is_over())
    return error(Code::kInvalidArgument, "the grammar is too ambiguous: there are too many ways to read one text");
  if (!leads_on && !is_tried()) return error(Code::kInvalidArgument, "no text satisfies the grammar");
  return {};
}

GrammarAutomaton::State GrammarAutomaton::start() {
  add({grammar_->root_start(), 0});
  close();
  return intern(std::move(waiting_));
}

void GrammarAutomaton::use(size_t bytes) {
  memory_bytes_ += bytes;
  if (memory_bytes_ > limits_.memory_bytes_max) is_over_ = true;
}

uint32_t GrammarAutomaton::push(uint32_t at, uint32_t below) {
  const auto [found, added] = stack_numbers_.try_emplace(key_of(at, below), static_cast<uint32_t>(stacks_.size()));
  if (added) {
    stacks_.push_back({at, below});
    use(sizeof(StackEntry) + sizeof(uint64_t) * 2 + kEntryBytes);
  }
  return found->second;
}

// From todo_ along all that needs no character, to waiting_.
void GrammarAutomaton::close() {
  waiting_.clear();
  seen_.clear();
  while (!todo_.empty()) {
    Item item = todo_.back();
    todo_.pop_back();
    // Jumps alone lead around no loop.
    while (grammar_->program()[item.at].op == Op::kJump)
      item.at = static_cast<uint32_t>(int64_t{item.at} + grammar_->program()[item.at].operand);
    if (is_over_ || !seen_.add(key_of(item.at, item.stack))) continue;
    ++work_;
    if (seen_.size() > limits_.items_max) {
      is_over_ = true;
      continue;
    }
    const Instruction& step = grammar_->program()[item.at];
    const auto there = static_cast<uint32_t>(int64_t{item.at} + step.operand);
    switch (step.op) {
      case Op::kSplit:
        add({there, item.stack});
        add({item.at + 1, item.stack});
        break;
      case Op::kCall:
        add({grammar_->rule_start(static_cast<size_t>(step.operand)),
             step.is_last ? item.stack : push(item.at + 1, item.stack)});
        break;
      case Op::kReturn:
        if (item.stack == 0)
          waiting_.push_back({kAccept, 0});
        else
          add({stacks_[item.stack].at, stacks_[item.stack].below});
        break;
      default:
        waiting_.push_back(item);
    }
  }
}

GrammarAutomaton::State GrammarAutomaton::intern(std::vector<Item> items) {
  if (is_over_ || items.empty()) return kDead;
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
  uint64_t hash = 0xcbf29ce484222325u;
  for (const Item& item : items) hash = (hash ^ key_of(item.at, item.stack)) * 0x9E3779B97F4A7C15u ^ (hash >> 29u);
  std::vector<State>& same_hash = state_numbers_[hash];
  for (const State state : same_hash)
    if (states_[state].items == items) return state;
  const auto number = static_cast<State>(states_.size());
  same_hash.push_back(number);
  use(items.size() * sizeof(Item) + sizeof(Known) + sizeof(State) * 2 + kEntryBytes);
  Known known;
  for (const Item& item : items) {
    known.accepts = known.accepts || item.at == kAccept;
    if (item.at == kAccept) continue;
    const Op op = grammar_->program()[item.at].op;
    known.waits_for_token = known.waits_for_token || op == Op::kToken || op == Op::kNotToken;
  }
  known.items = std::move(items);
  states_.push_back(std::move(known));
  return is_over_ ? kDead : number;
}

bool GrammarAutomaton::takes(const Instruction& step, char32_t c) const {
  if (step.op == Op::kCharacter) return static_cast<char32_t>(step.operand) == c;
  return step.op == Op::kSet && contains(grammar_->set(static_cast<size_t>(step.operand)), c, c);
}

GrammarAutomaton::State GrammarAutomaton::compute_step(State from, char32_t c) {
  for (const Item& item : states_[from].items) {
    ++work_;
    if (item.at != kAccept && takes(grammar_->program()[item.at], c)) add({item.at + 1, item.stack});
  }
  close();
  return intern(std::exchange(waiting_, {}));
}

GrammarAutomaton::State GrammarAutomaton::step(State from, char32_t c) {
  if (from == kDead || is_over_) return kDead;
  const uint32_t kind = grammar_->class_of(c);
  if (kind >= kRowClasses) {
    const uint64_t key = key_of(from, kind);
    if (const auto known = further_.find(key); known != further_.end()) return known->second;
    const State to = compute_step(from, c);
    further_[key] = to;
    use(sizeof(uint64_t) * 2 + kEntryBytes);
    return is_over_ ? kDead : to;
  }
  if (states_[from].next.empty()) {
    const uint32_t n = std::min(grammar_->n_classes(), kRowClasses);
    states_[from].next.assign(n, kUnknown);
    use(n * sizeof(State));
  }
  if (const State known = states_[from].next[kind]; known != kUnknown) return known;
  const State to = compute_step(from, c);
  states_[from].next[kind] = to;
  return is_over_ ? kDead : to;
}

GrammarAutomaton::State GrammarAutomaton::step_token(State from, int32_t token) {
  if (from == kDead || is_over_) return kDead;
  for (const Item& item : states_[from].items) {
    ++work_;
    if (item.at == kAccept) continue;
    const Instruction& step = grammar_->program()[item.at];
    const bool takes_it =
        (step.op == Op::kToken && step.operand == token) || (step.op == Op::kNotToken && step.operand != token);
    if (takes_it) add({item.at + 1, item.stack});
  }
  close();
  return intern(std::exchange(waiting_, {}));
}

bool GrammarAutomaton::admits_within(State state, char32_t first, char32_t last) {
  for (const Item& item : states_[state].items) {
    ++work_;
    if (item.at == kAccept) continue;
    const Instruction& step = grammar_->program()[item.at];
    if (step.op == Op::kCharacter && first <= static_cast<char32_t>(step.operand) &&
        static_cast<char32_t>(step.operand) <= last)
      return true;
    if (step.op == Op::kSet && contains(grammar_->set(static_cast<size_t>(step.operand)), first, last)) return true;
  }
  return false;
}

GrammarAutomaton::State GrammarAutomaton::forget_others(State keep) {
  if (is_over_) return kDead;
  const std::vector<Item> items = std::move(states_[keep].items);
  const std::vector<StackEntry> old = std::move(stacks_);
  forget();
  std::vector<uint32_t> moved(old.size(), kUnknown);
  moved[0] = 0;
  std::vector<Item> kept;
  std::vector<uint32_t> path;
  for (const Item& item : items) {
    // What is below comes first.
    for (uint32_t at = item.stack; moved[at] == kUnknown; at = old[at].below) path.push_back(at);
    for (; !path.empty(); path.pop_back())
      moved[path.back()] = push(old[path.back()].at, moved[old[path.back()].below]);
    kept.push_back({item.at, moved[item.stack]});
    ++work_;
  }
  work_ += old.size() / 8;
  return intern(std::move(kept));
}

}  // namespace spillway
