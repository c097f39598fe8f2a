// SPDX-License-Identifier: MIT
// In which order extents are read: by priority, within one by when they were asked for, and each slot class for itself,
// so that a length without a free slot does not hold up the others.
//
// An extent has at most one place. A new place makes the old one stale; stale places are skipped when they come up.
// Were an old place valid again after the extent was asked for anew, an extent just used would be read first and not
// last in the cycle.
//
// Not thread-safe: its user has a lock.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <vector>

#include "layout/extent.h"

namespace spillway {

class ReadQueue {
 public:
  // `class_of`: [n_extent] slot classes, all below n_class.
  ReadQueue(std::vector<uint32_t> class_of, size_t n_class);

  // To the end of its priority. An extent that stands there or in a more urgent one keeps its place; whether it moved.
  bool push_back(ExtentId id, Priority priority);
  // Before all others of its priority.
  void push_front(ExtentId id, Priority priority);
  // Takes an extent out, wherever it stands.
  void remove(ExtentId id) { seats_[index_of(id)].taken = false; }

  // Of all classes' first places in `priority` the earliest later than `after`. Places of one priority have distinct
  // tickets, and first() with the ticket of a place passed over goes on behind it.
  struct Place {
    ExtentId id{};
    int64_t ticket = 0;
  };
  static constexpr int64_t kFromTheFirst = std::numeric_limits<int64_t>::min();
  std::optional<Place> first(Priority priority, int64_t after = kFromTheFirst);
  // Takes out what first() gave.
  void pop(ExtentId id);

  // Of the place an extent has, or had last. Later asked for, higher ticket.
  Priority priority_of(ExtentId id) const { return seats_[index_of(id)].priority; }
  int64_t ticket_of(ExtentId id) const { return seats_[index_of(id)].ticket; }

 private:
  struct Seat {
    bool taken = false;
    Priority priority = Priority::kSpeculative;
    int64_t ticket = 0;
  };
  using Queue = std::deque<Place>;

  Queue& queue_of(ExtentId id, Priority priority);
  Place take_place(ExtentId id, Priority priority, int64_t ticket);
  bool is_stale(const Place& place) const;

  const std::vector<uint32_t> class_of_;                // [n_extent]
  std::vector<Seat> seats_;                             // [n_extent]
  std::vector<std::array<Queue, kPriorities>> queues_;  // [n_class]
  int64_t last_ticket_ = 0, first_ticket_ = 0;
};

}  // namespace spillway
