// SPDX-License-Identifier: MIT
// Follows a text through a grammar, character by character, and remembers each step it ever took, so that a vocabulary
// of a hundred thousand tokens is gone through in milliseconds.
//
// A state is a set of items: an instruction that waits for a character, and the places its rules return to. Such stacks
// of places are lists that share their tails, each kept once; so states are equal when their numbers are.
//
// Bounded: a step that would need more than `items_max` items, or all that is remembered more than `memory_bytes_max`,
// ends the automaton (is_over()); every answer after that is kDead. work() counts what was done, for a bound of time
// that is the same on every machine.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "grammar/grammar.h"

namespace spillway {

class GrammarAutomaton {
 public:
  struct Limits {
    size_t items_max = 20'000;
    size_t memory_bytes_max = 64u << 20;
    size_t memory_bytes_kept = 16u << 20;  // of steps that may be needed again
  };
  using State = uint32_t;
  static constexpr State kDead = 0;

  GrammarAutomaton(std::shared_ptr<const Grammar> grammar, const Limits& limits);

  // Goes a little way in every direction.
  //   InvalidArgument   no text satisfies the grammar, or the bounds were met already
  static Result<void> try_out(const std::shared_ptr<const Grammar>& grammar, const Limits& limits);

  State start();
  State step(State from, char32_t c);
  State step_token(State from, int32_t token);
  bool accepts(State state) const { return states_[state].accepts; }
  bool waits_for_token(State state) const { return states_[state].waits_for_token; }
  // Whether some character of first..last may come.
  bool admits_within(State state, char32_t first, char32_t last);

  bool is_over() const { return is_over_; }
  uint64_t work() const { return work_; }  // items looked at
  bool remembers_much() const { return memory_bytes_ > limits_.memory_bytes_kept; }

  // Forgets all but `keep`, which gets a new number. Other states mean nothing any more.
  State forget_others(State keep);

 private:
  struct Item {
    uint32_t at;     // in the program; kAccept: the text may end
    uint32_t stack;  // number of a StackEntry; 0: empty
    bool operator==(const Item&) const = default;
    auto operator<=>(const Item&) const = default;
  };
  struct StackEntry {
    uint32_t at, below;
  };
  struct Known {
    std::vector<Item> items;  // sorted
    bool accepts = false, waits_for_token = false;
    std::vector<State> next;  // by class of characters, for the first kRowClasses; empty until the first step
  };
  // Keys, and emptied at no cost: what was put in before is of another round.
  class Seen {
   public:
    void clear() { ++round_, n_ = 0; }
    bool add(uint64_t key);  // false: it was there
    size_t size() const { return n_; }

   private:
    struct Entry {
      uint64_t key = 0;
      uint64_t round = 0;
    };
    std::vector<Entry> entries_ = std::vector<Entry>(64);
    uint64_t round_ = 1;
    size_t n_ = 0;
  };
  static constexpr uint32_t kAccept = UINT32_MAX;
  static constexpr uint32_t kRowClasses = 256;
  static constexpr State kUnknown = UINT32_MAX;

  bool takes(const Instruction& step, char32_t c) const;
  State compute_step(State from, char32_t c);
  void add(Item item) { todo_.push_back(item); }
  void close();
  State intern(std::vector<Item> items);
  uint32_t push(uint32_t at, uint32_t below);
  void use(size_t bytes);
  void forget();

  const std::shared_ptr<const Grammar> grammar_;  // shared by all answers under it
  const Limits limits_;
  std::vector<Known> states_;
  std::unordered_map<uint64_t, std::vector<State>> state_numbers_;  // by hash of the items
  std::vector<StackEntry> stacks_;
  std::unordered_map<uint64_t, uint32_t> stack_numbers_;
  std::unordered_map<uint64_t, State> further_;  // steps of classes beyond kRowClasses
  std::vector<Item> todo_, waiting_;             // while a step is computed
  Seen seen_;
  uint64_t work_ = 0;
  size_t memory_bytes_ = 0;
  bool is_over_ = false;
};

}  // namespace spillway
