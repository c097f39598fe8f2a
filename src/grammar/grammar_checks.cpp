// SPDX-License-Identifier: MIT
#include "grammar/grammar_checks.h"

#include <algorithm>

namespace spillway {
namespace {

using Op = Instruction::Op;

uint32_t target(uint32_t at, const Instruction& step) { return static_cast<uint32_t>(int64_t{at} + step.operand); }

// Follows every rule from its start as far as it goes without a character. A call of a rule that may be empty goes on
// behind it; whether it may be, is often known only later, so places wait for it.
class FirstCalls {
 public:
  FirstCalls(const std::vector<Instruction>& program, std::span<const uint32_t> starts)
      : program_(program), calls(starts.size()), seen_(program.size()), empty_(starts.size()), waiting_(starts.size()) {
    for (size_t rule = 0; rule < starts.size(); ++rule) todo_.push_back({rule, starts[rule]});
    while (!todo_.empty()) {
      const Place place = todo_.back();
      todo_.pop_back();
      // A place belongs to one rule, so it is enough to have been there once.
      if (!seen_[place.at]) follow(place);
    }
  }

 private:
  struct Place {
    size_t rule;
    uint32_t at;
  };

  void follow(const Place& place) {
    seen_[place.at] = true;
    const Instruction& step = program_[place.at];
    switch (step.op) {
      case Op::kJump:
        todo_.push_back({place.rule, target(place.at, step)});
        break;
      case Op::kSplit:
        todo_.push_back({place.rule, target(place.at, step)});
        todo_.push_back({place.rule, place.at + 1});
        break;
      case Op::kCall: {
        const auto called = static_cast<size_t>(step.operand);
        calls[place.rule].push_back(called);
        (empty_[called] ? todo_ : waiting_[called]).push_back({place.rule, place.at + 1});
        break;
      }
      case Op::kReturn:
        if (empty_[place.rule]) break;
        empty_[place.rule] = true;
        todo_.insert(todo_.end(), waiting_[place.rule].begin(), waiting_[place.rule].end());
        waiting_[place.rule].clear();
        break;
      default:
        break;
    }
  }

  const std::vector<Instruction>& program_;

 public:
  std::vector<std::vector<size_t>> calls;  // of each rule, before any character

 private:
  std::vector<bool> seen_, empty_;
  std::vector<std::vector<Place>> waiting_;  // for a rule to turn out to be possibly empty
  std::vector<Place> todo_;
};

}  // namespace

std::optional<size_t> left_recursive_rule(const std::vector<Instruction>& program,
                                          std::span<const uint32_t> rule_starts) {
  const FirstCalls first(program, rule_starts);
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> state(rule_starts.size(), kNew);
  struct Visit {
    size_t rule, next;
  };
  std::vector<Visit> path;
  for (size_t begin = 0; begin < rule_starts.size(); ++begin) {
    if (state[begin] != kNew) continue;
    state[begin] = kOpen;
    path.push_back({begin, 0});
    while (!path.empty()) {
      Visit& visit = path.back();
      if (visit.next == first.calls[visit.rule].size()) {
        state[visit.rule] = kDone;
        path.pop_back();
        continue;
      }
      const size_t called = first.calls[visit.rule][visit.next++];
      if (state[called] == kOpen) return called;
      if (state[called] == kDone) continue;
      state[called] = kOpen;
      path.push_back({called, 0});
    }
  }
  return std::nullopt;
}

void mark_last_calls(std::vector<Instruction>& program) {
  // From the end: whether the rule returns at once from a place. Jumps back are those of loops, and a loop is no
  // return.
  std::vector<bool> returns(program.size() + 1);
  for (uint32_t at = static_cast<uint32_t>(program.size()); at-- > 0;) {
    Instruction& step = program[at];
    if (step.op == Op::kReturn) returns[at] = true;
    if (step.op == Op::kJump && step.operand > 0) returns[at] = returns[target(at, step)];
    if (step.op == Op::kCall) step.is_last = returns[at + 1];
  }
}

}  // namespace spillway
