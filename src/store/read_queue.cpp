// SPDX-License-Identifier: MIT
#include "store/read_queue.h"

#include <utility>

#include "base/check.h"

namespace spillway {

ReadQueue::ReadQueue(std::vector<uint32_t> class_of, size_t n_class)
    : class_of_(std::move(class_of)), seats_(class_of_.size()), queues_(n_class) {}

bool ReadQueue::push_back(ExtentId id, Priority priority) {
  const Seat& seat = seats_[index_of(id)];
  if (seat.taken && seat.priority <= priority) return false;
  queue_of(id, priority).push_back(take_place(id, priority, ++last_ticket_));
  return true;
}

void ReadQueue::push_front(ExtentId id, Priority priority) {
  queue_of(id, priority).push_front(take_place(id, priority, --first_ticket_));
}

std::optional<ReadQueue::Place> ReadQueue::first(Priority priority, int64_t after) {
  std::optional<Place> earliest;
  for (auto& by_priority : queues_) {
    Queue& queue = by_priority[static_cast<size_t>(priority)];
    while (!queue.empty() && is_stale(queue.front())) queue.pop_front();
    if (queue.empty() || queue.front().ticket <= after) continue;
    if (!earliest || queue.front().ticket < earliest->ticket) earliest = queue.front();
  }
  return earliest;
}

void ReadQueue::pop(ExtentId id) {
  Queue& queue = queue_of(id, priority_of(id));
  CHECK(!queue.empty() && queue.front().id == id && !is_stale(queue.front()));
  queue.pop_front();
  seats_[index_of(id)].taken = false;
}

ReadQueue::Queue& ReadQueue::queue_of(ExtentId id, Priority priority) {
  return queues_[class_of_[index_of(id)]][static_cast<size_t>(priority)];
}

ReadQueue::Place ReadQueue::take_place(ExtentId id, Priority priority, int64_t ticket) {
  seats_[index_of(id)] = {.taken = true, .priority = priority, .ticket = ticket};
  return {id, ticket};
}

bool ReadQueue::is_stale(const Place& place) const {
  const Seat& seat = seats_[index_of(place.id)];
  return !seat.taken || seat.ticket != place.ticket;
}

}  // namespace spillway
