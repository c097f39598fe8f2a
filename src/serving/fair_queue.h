// SPDX-License-Identifier: MIT
// A bounded queue in which clients take turns: each client's requests in their order, and of several clients one after
// the other, so that somebody who asks for a hundred things does not keep out somebody who asks for one.
//
// Threads: none of its own; the owner guards it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <list>
#include <optional>
#include <string>
#include <utility>

namespace spillway {

template <typename T>
class FairQueue {
 public:
  explicit FairQueue(size_t size_max) : size_max_(size_max) {}

  // false: full, nothing was taken.
  bool push(const std::string& client, T item) {
    if (size_ >= size_max_) return false;
    auto turn = std::find_if(turns_.begin(), turns_.end(), [&](const Turn& t) { return t.client == client; });
    if (turn == turns_.end()) turn = turns_.insert(turns_.end(), Turn{client, {}});
    turn->items.push_back(std::move(item));
    ++size_;
    return true;
  }

  // The next one; who had a turn goes to the end of the round.
  std::optional<T> pop() {
    if (turns_.empty()) return std::nullopt;
    Turn& turn = turns_.front();
    T item = std::move(turn.items.front());
    turn.items.pop_front();
    --size_;
    if (turn.items.empty())
      turns_.pop_front();
    else
      turns_.splice(turns_.end(), turns_, turns_.begin());
    return item;
  }

  // The next one of those that `predicate` says. Who has none of them keeps his turn.
  template <typename Predicate>
  std::optional<T> pop_if(const Predicate& predicate) {
    for (auto turn = turns_.begin(); turn != turns_.end(); ++turn) {
      const auto found = std::find_if(turn->items.begin(), turn->items.end(), predicate);
      if (found == turn->items.end()) continue;
      T item = std::move(*found);
      turn->items.erase(found);
      --size_;
      if (turn->items.empty())
        turns_.erase(turn);
      else
        turns_.splice(turns_.end(), turns_, turn);
      return item;
    }
    return std::nullopt;
  }

  // Takes out all that `predicate` says, and hands each to `sink`.
  template <typename Predicate, typename Sink>
  void remove_if(const Predicate& predicate, const Sink& sink) {
    for (auto turn = turns_.begin(); turn != turns_.end();) {
      for (auto item = turn->items.begin(); item != turn->items.end();) {
        if (!predicate(*item)) {
          ++item;
          continue;
        }
        sink(std::move(*item));
        item = turn->items.erase(item);
        --size_;
      }
      turn = turn->items.empty() ? turns_.erase(turn) : std::next(turn);
    }
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  struct Turn {
    std::string client;
    std::deque<T> items;  // never empty
  };

  const size_t size_max_;
  std::list<Turn> turns_;  // the next one first
  size_t size_ = 0;
};

}  // namespace spillway
